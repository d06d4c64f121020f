"""What a verb of an operator came to."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Ruling:
    """What a verb came to.

    `words` say what is true of the intent now, `written` whether that took an event. `superseded`
    are the siblings that `adopt` ended. `removed` are the generations that `discard` deleted,
    `left` those that it could not, because a reader holds them. `owner` is the live process that
    has yet to find out, None if there is none.
    """

    intent_id: UUID
    words: str
    written: bool
    superseded: tuple[UUID, ...] = ()
    removed: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    owner: str | None = None
