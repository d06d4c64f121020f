"""What was recorded: the disk before, and everything that was done to it, in order. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bootledger.simulation.powerloss.image import Image
from bootledger.simulation.powerloss.operations import Operation, Sync, Write, is_sync

_VARYING = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")


@dataclass(frozen=True)
class Trace:
    """One recording. `place` is where it was made, and where its states are recovered.

    `promised` is what had been acknowledged before it began.
    """

    place: Path
    base: Image
    operations: tuple[Operation, ...]
    promised: tuple[bytes, ...] = ()

    def syncs(self) -> Iterator[tuple[str, int]]:
        """Yield what makes something durable: its name, and where in `operations` it is.

        The name is the role of what is synced (its path, with `*` for a UUID) and how often that
        was synced before: `ledger/data.mdb#3`. Stable from one recording to the next.
        """
        seen: Counter[str] = Counter()
        for index, operation in enumerate(self.operations):
            if is_sync(operation):
                role = role_of(operation)
                seen[role] += 1
                yield f"{role}#{seen[role]}", index

    def without_sync(self, index: int) -> Trace:
        """Return the trace of a process that never made the sync at `index` of `operations`."""
        operation = self.operations[index]
        instead = (replace(operation, synced=False),) if isinstance(operation, Write) else ()
        return self.with_operations(
            (*self.operations[:index], *instead, *self.operations[index + 1 :])
        )

    def with_operations(self, operations: tuple[Operation, ...]) -> Trace:
        """Return the trace of a process that did something else, from the same beginning."""
        return replace(self, operations=operations)


def role_of(operation: Operation) -> str:
    """Return what an operation is about, by a name that is the same in every recording."""
    path = "" if not hasattr(operation, "path") else str(operation.path)
    role = _VARYING.sub("*", path) or "."
    if isinstance(operation, Sync | Write):
        return role
    return f"{type(operation).__name__.lower()} {role}"
