"""How a bootstrap ends or pauses: superseded by a later one, or suspended because of an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from uuid import UUID

from bootledger.errors import (
    CannotConverge,
    CorruptChunk,
    CorruptManifest,
    DivergedHistory,
    IllegalEvent,
    OutOfSpace,
    SourceUnavailable,
    Stopped,
    Unavailable,
)
from bootledger.positions import TEXT_MAX_BYTES
from bootledger.projections.heads import encode_head
from bootledger.statemachine.events import Abort, CauseClass, Complete
from bootledger.statemachine.fold import advance
from bootledger.statemachine.progress import Progress, State
from bootledger.store.port import Append

_RETRY_MS = 60_000
_RETRY_FULL_MS = 600_000


def supersede(intent_id: UUID, progress: Progress, now_ms: int, *, by: UUID) -> Append:
    """Return the append that ends an older intent in favour of `by`.

    One that was promoting counts as rolled back: CURRENT is the newer one's from here on.
    """
    event = Abort(
        recorded_at_ms=now_ms,
        actor=progress.begin.node_id if progress.begin else str(intent_id),
        reason=f"superseded by {by}",
        abort_kind="superseded",
        rolled_back=progress.phase is State.PROMOTING,
    )
    return Append(intent_id, progress.version, event, encode_head(advance(progress, event)))


def cause_class_of(error: BaseException) -> CauseClass:
    """Return under which class an exception suspends a bootstrap."""
    match error:
        case OutOfSpace() | CannotConverge():
            return "capacity"
        case SourceUnavailable() | ConnectionError() | TimeoutError():
            return "network"
        case DivergedHistory():
            return "diverged"
        case CorruptChunk() | CorruptManifest():
            return "source"
        case Stopped() | KeyboardInterrupt() | SystemExit():
            return "shutdown"
        case _:
            return "error"


def retry_after_ms(error: BaseException) -> int | None:
    """Return after how long another try makes sense, None where a person must act first.

    A source that does not answer is worth a try in a minute, a full disk in ten.
    """
    if isinstance(error, Stopped) or not isinstance(error, Unavailable | OSError):
        return None
    return _RETRY_FULL_MS if isinstance(error, OutOfSpace) else _RETRY_MS


RetryAfter: TypeAlias = Callable[[BaseException, Progress], int | None]
"""Says after how many milliseconds the next try is made, None if none is."""


def usual_retry(error: BaseException, _: Progress) -> int | None:
    """Return what `retry_after_ms` does, of a run that does not try again by itself."""
    return retry_after_ms(error)


def ending(progress: Progress) -> str:
    """Return how an intent ended, or who holds it, in words."""
    match progress.end:
        case Abort() as abort:
            return f"aborted by {abort.actor}: {abort.reason}"
        case Complete():
            return "completed"
        case None:
            held = progress.suspension
            return f"held by {held.actor}: {held.cause}" if held else str(progress.state)


def shortened(text: str) -> str:
    """Return `text` short enough for an event, without what cannot be stored."""
    clean = text.replace("\0", "?") or "no words"
    return clean.encode(errors="replace")[:TEXT_MAX_BYTES].decode(errors="ignore")


def aborted_already(progress: Progress, end: Abort, *, keep: bool) -> str:
    """Return what an abort comes to that was preceded by the abort `end`.

    Raises `IllegalEvent` if it is to keep what that one did not.
    """
    if keep and not end.keep_artifacts:
        raise IllegalEvent(
            f"{ending(progress)}, without keeping what was staged",
            hint="copy it away before the node's next start removes it",
        )
    kept = "; what was staged is kept until it is discarded" if end.keep_artifacts else ""
    return f"{ending(progress)}{kept}"
