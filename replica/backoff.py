"""Whether and when another try makes sense: exponential, with full jitter. Pure: chance is given.

Jitter, because whatever cut off one replica cut off many, and they must not all come back at once.
"""

from __future__ import annotations

from bootledger.errors import (
    CorruptChunk,
    CorruptManifest,
    NodeBusy,
    OutOfSpace,
    Stopped,
    TargetBusy,
    Unavailable,
)

FIRST_MS = 1_000
LONGEST_MS = 60_000
FULL_DISK_MS = 600_000
LEAST_MS = 100
"""Never sooner: a source that refuses at once is not asked a thousand times a second."""
CORRUPT_TRIES = 5
"""So often without any progress a source may send wrong bytes before a person has to look."""


SENT_WRONG = (CorruptChunk, CorruptManifest)
"""What a source sent is not what was pinned."""


def backoff_ms(error: BaseException, failures: int, chance: float, *, wrong: int = 0) -> int | None:
    """Return after how long to try again, None if trying again will not help.

    `failures` tries before this one came to nothing, in a row, `wrong` of them because of what the
    source sent; `chance` is from 0 to 1. The longest
    wait doubles from `FIRST_MS` to `LONGEST_MS`; of that, `chance` is taken. A source that says
    when it wants to be asked is not asked before. A disk is not emptied in a minute.
    """
    match error:
        case Stopped() | NodeBusy() | TargetBusy():
            return None
        case CorruptChunk() | CorruptManifest():
            if wrong + 1 >= CORRUPT_TRIES:
                return None
            told_ms = None
        case OutOfSpace():
            return FULL_DISK_MS
        case Unavailable():
            told_ms = error.retry_after_ms
        case OSError():
            told_ms = None
        case _:
            return None
    longest_ms = min(LONGEST_MS, FIRST_MS << min(failures, 16))
    return max(LEAST_MS, round(chance * longest_ms), min(told_ms or 0, FULL_DISK_MS))
