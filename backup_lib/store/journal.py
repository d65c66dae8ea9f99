"""The journal: what releases of a version set out to do, as the ledger has it.

Before each step that leaves something behind, a release writes down what that will be, exactly enough to be
known again. Whether it was done, and whether it is still there, is seen by looking.
"""

from __future__ import annotations

from dataclasses import dataclass

from backup_lib.store.ledger import Ledger, Record

__all__ = ["Journal", "journal_of"]


@dataclass(frozen=True, slots=True)
class Journal:
    """What was to be made of one version since all of it was last taken back, each oldest first."""

    tags: tuple[Record, ...]
    archives: tuple[Record, ...]
    notes: tuple[Record, ...]
    taken_back: bool
    """Whether there was more before, which was taken back."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was to be made."""
        return not (self.tags or self.archives or self.notes)


def journal_of(ledger: Ledger, version: str) -> Journal:
    """Return the journal of a version."""
    acts = [record for _, record in ledger.records if record.version == version]
    ends = [place for place, record in enumerate(acts, 1) if record.act == "undone"]
    since = acts[ends[-1] if ends else 0 :]

    def intended(act: str) -> tuple[Record, ...]:
        return tuple(record for record in since if record.act == act)

    return Journal(intended("tag"), intended("release"), intended("note"), bool(ends))
