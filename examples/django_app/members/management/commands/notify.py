"""`manage.py notify`: push from a separate process, as a job or a signal handler would."""

from typing import Any

from django.core.management import BaseCommand, CommandError

from members.models import Member
from members.push import publisher
from peatio_ws.errors import PublishError


class Command(BaseCommand):
    help = "Send a message to a member's open pages. Needs the same broker as the gateway: AMQP_URL."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("name")
        parser.add_argument("text")

    def handle(self, name: str, text: str, **_options: object) -> None:
        try:
            member = Member.objects.get(user__username=name)
            publisher.to_member(member.uid, "message", {"from": "the exchange", "text": text})
        except Member.DoesNotExist:
            raise CommandError(f"there is no member {name}") from None
        except PublishError as error:
            raise CommandError(str(error)) from None
        finally:
            publisher.close()
