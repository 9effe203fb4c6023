"""`manage.py demo`: create the database and two members for testing."""

from django.contrib.auth.models import User
from django.core.management import BaseCommand, call_command

from members.models import Member


class Command(BaseCommand):
    help = "Create the database, and the members ann and bob, each with the password `<name>'s password`."

    def handle(self, **_options: object) -> None:
        call_command("migrate", verbosity=0)
        for name in ("ann", "bob"):
            user, _ = User.objects.get_or_create(username=name)
            user.set_password(f"{name}'s password")
            user.save()
            Member.objects.update_or_create(user=user, defaults={"uid": f"ID{name.upper()}"})
