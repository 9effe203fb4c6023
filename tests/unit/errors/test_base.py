"""Texts and remedies for people."""

from __future__ import annotations

from peatio_ws.errors.base import ErrorCode, PeatioWsError


class Problem(ErrorCode):
    FULL = "full", "the disk is full", "free some space"
    OTHER = "other"


def test_code_has_a_text_and_a_remedy() -> None:
    assert Problem("full") is Problem.FULL
    assert (Problem.FULL.text, Problem.FULL.remedy) == ("the disk is full", "free some space")
    assert (Problem.OTHER.text, Problem.OTHER.remedy) == ("", "")


def test_advice_leaves_out_what_is_empty() -> None:
    error = PeatioWsError()
    assert error.advice == ""
    error.text = "the disk is full"
    assert error.advice == "the disk is full"
    error.remedy = "free some space"
    assert error.advice == "the disk is full; free some space"
