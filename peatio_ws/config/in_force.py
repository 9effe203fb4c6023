"""Shows the settings that are in force, each with the variables that it comes from. Secrets are hidden. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from pydantic import AliasChoices

from peatio_ws.auth.keys import description
from peatio_ws.config.settings import Settings
from peatio_ws.config.tls_files import BROKER_PARAMETERS, REDIS_PARAMETERS, SERVER_NAME

HIDDEN: Final = "***"
_SHOWN: Final = {*BROKER_PARAMETERS, SERVER_NAME, "verify", *REDIS_PARAMETERS, "db", "sentinel_username"}
"""Query parameters that hold no secret."""
_RABBITMQ: Final = ("RABBITMQ_HOST", "RABBITMQ_PORT", "RABBITMQ_USER", "RABBITMQ_PASSWORD", "RABBITMQ_VHOST")


class SettingInForce(NamedTuple):
    """A setting.

    Attributes:
        variable: its name.
        value: as text, without passwords and keys; empty if there is none.
        sources: the variables that were read; empty for the default.
    """

    variable: str
    value: str
    sources: tuple[str, ...]


def in_force(settings: Settings, environ: Mapping[str, str]) -> Iterator[SettingInForce]:
    """Yield all settings, in the order of `Settings`.

    Args:
        environ: the variables that `settings` were made from.
    """
    given = {name for name, value in environ.items() if value.strip()}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if name == "jwt_keys":
            yield from _keys(settings, given)
        elif name == "roles":
            for prefix, roles in value.items():
                variable = f"RANGO_RBAC_{prefix.upper()}"
                yield SettingInForce(variable, _text(sorted(roles)), (variable,))
        elif isinstance(field.validation_alias, AliasChoices):
            choices = [str(choice) for choice in field.validation_alias.choices]
            sources = [choice for choice in choices if choice in given][:1]
            if choices == ["AMQP_URL"] and not sources:
                sources = [variable for variable in _RABBITMQ if variable in given]
            separator = ";" if choices == ["AMQP_URL"] else ","
            yield SettingInForce(choices[0], _text(value, separator), tuple(sources))


def variable_of(settings: Settings, field: str) -> str:
    """Return the name of the variable that a field was read from; without one, the first that it may have."""
    names = cast(AliasChoices, Settings.model_fields[field].validation_alias).choices
    return str(next((name for name in names if name in settings.given), names[0]))


def _keys(settings: Settings, given: set[str]) -> Iterator[SettingInForce]:
    keys = list(settings.jwt_keys)
    for variable, most in (("JWT_PUBLIC_KEY", 1), ("JWT_PUBLIC_KEYS", len(keys))):
        used = [keys.pop(0) for _ in range(min(most, len(keys)))] if variable in given else []
        yield SettingInForce(variable, ", ".join(map(description, used)), (variable,) if used else ())


def _text(value: Any, separator: str = ",") -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, tuple | list):
        return separator.join(_text(one) for one in value)
    return without_secrets(str(value))


def without_secrets(url: str) -> str:
    """Return a URL without its password and without parameters that may be secret. Return any other text unchanged.

    A password may contain any character, for example a `/` that its author did not encode.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    place, question, query = rest.partition("?")
    user, at, host = place.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{name}:{HIDDEN}" if colon else user
    return f"{scheme}{mark}{shown}{at}{host}{question}{'&'.join(map(_parameter, query.split('&')))}"


def _parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not text or name in _SHOWN:
        return text
    return f"{name}={HIDDEN}" if equals else HIDDEN
