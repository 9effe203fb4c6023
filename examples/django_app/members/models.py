"""The exchange account of a Django user."""

from django.conf import settings
from django.db import models


class Member(models.Model):
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    uid = models.CharField(max_length=64, unique=True, help_text="Barong's uid, by which Peatio knows the member.")

    def __str__(self) -> str:
        return self.uid
