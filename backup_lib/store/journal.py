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
    """What was to be made of one version before all of it was taken back, each oldest first."""

    tags: tuple[Record, ...]
    archives: tuple[Record, ...]
    notes: tuple[Record, ...]
    asides: tuple[Record, ...]
    """Of what was moved aside for one of the archives."""
    taken_back: bool
    """Whether an undo took back all that it saw: there may be more in another clone, or on another branch."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was to be made."""
        return not (self.tags or self.archives or self.notes)


def journal_of(ledger: Ledger, version: str) -> Journal:
    """Return the last journal of a version, an empty one where there was none."""
    intents: list[Record] = []
    taken_back = False
    for _, record in ledger.records:
        if record.version != version:
            continue
        if record.act == "undone":
            taken_back = bool(intents)
        elif record.act in ("tag", "release", "note"):
            intents = [record] if taken_back else [*intents, record]
            taken_back = False
        elif record.act == "aside" and intents and not taken_back:
            intents.append(record)

    def intended(act: str) -> tuple[Record, ...]:
        return tuple(record for record in intents if record.act == act)

    return Journal(intended("tag"), intended("release"), intended("note"), intended("aside"), taken_back)
