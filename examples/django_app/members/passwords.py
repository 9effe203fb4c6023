"""Check passwords in a thread. A check uses half a second of CPU by design, and would block all connections of the
worker."""

from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from peatio_ws import in_thread


class InThread(PBKDF2PasswordHasher):
    def encode(self, *args: Any, **kwargs: Any) -> str:
        return in_thread(super().encode, *args, **kwargs)
