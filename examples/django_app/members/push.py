"""Pushing to members, from views, commands and jobs alike: through the broker, so that it does not matter which process
holds a member's page."""

from django.conf import settings

from peatio_ws.publisher import Publisher

publisher = Publisher(settings.AMQP_URL)  # connects when it is first used
