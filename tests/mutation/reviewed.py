"""The mutants that a person has looked at and found equal in effect: no test can notice them."""

from __future__ import annotations

EQUAL: dict[str, str] = {}
"""Why, by the name that `python -m tests.mutation` prints."""
