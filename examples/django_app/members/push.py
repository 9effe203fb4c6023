"""Push to members from views, commands and jobs. Pushes go through the broker, so they reach a member's page on any
process."""

from django.conf import settings

from peatio_ws.publisher import Publisher

publisher = Publisher(settings.AMQP_URL)  # connects on first use
