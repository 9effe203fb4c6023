"""Checking a password costs half a second of CPU on purpose. In a worker that holds thousands of connections that is
half a second for all of them: so it is done in a thread."""

from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from peatio_ws import in_thread


class InThread(PBKDF2PasswordHasher):
    def encode(self, *args: Any, **kwargs: Any) -> str:
        return in_thread(super().encode, *args, **kwargs)
