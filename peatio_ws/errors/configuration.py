"""Faults of the environment."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from peatio_ws.errors.base import PeatioWsError


@dataclass(frozen=True, order=True, slots=True)
class Fault:
    """A fault of the environment. `str()` of it is one line for people; programs read the other attributes.

    Attributes:
        text: names the variable and says what is wrong with it. Without a remedy, it also says what to do.
        variables: the variables at fault.
        remedy: what to do.
        code: the kind of fault, where programs treat it differently.
    """

    text: str
    variables: tuple[str, ...] = ()
    remedy: str = ""
    code: FaultCode | None = None

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


class FaultCode(enum.StrEnum):
    """Kinds of faults that programs treat differently."""

    KEY_UNUSABLE = "key_unusable"  # it does not fit `JWT_ALGORITHM`
    ADDRESS_IN_USE = "address_in_use"  # by another process


class ConfigurationError(PeatioWsError):
    """All faults of the environment. A text is a fault without a code."""

    def __init__(self, faults: Sequence[Fault | str]) -> None:
        self.faults = [Fault(fault) if isinstance(fault, str) else fault for fault in faults]
        self.text = "\n".join(map(str, self.faults))
        super().__init__(self.text)
