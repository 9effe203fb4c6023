"""Settings of all unit tests: hypothesis has no deadline and stores no files."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", deadline=None, database=None, max_examples=100)
settings.load_profile("unit")
