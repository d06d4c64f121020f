"""What a bootstrap needs to converge, and what there is: need by need, in numbers and words.

The model stands in `bootledger.projections.forecast`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator
from typing import Annotated, NamedTuple

import msgspec

from bootledger.positions import U64
from bootledger.projections.amounts import count, duration, rounded_down, rounded_up, size

ROOM = 1.5
"""A bootstrap converges if its window, and its apply rate, are so many times what is needed."""
EXCESS = 1.25
"""A bootstrap cannot converge if it needs so many times what there is, or more."""

_NOT_NEGATIVE = msgspec.Meta(ge=0)
Amount = Annotated[float, _NOT_NEGATIVE]


class Convergence(enum.StrEnum):
    """Whether a bootstrap can come to its end before the log that it needs is gone."""

    CONVERGES = "converges"
    DOUBTFUL = "doubtful"
    CANNOT = "cannot"


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a forecast is made of; rates are None where nobody knows them.

    `left_bytes` is what has still to be copied, `check_s` how long reading the copy again will
    take. `backlog_changes` are those that the source has and the replica has not acknowledged.
    `outage_s` is the allowance for times without a link. The `slot_*` are the limits of the source,
    None without; `change_bytes` is how much of the log a change takes on average.
    """

    left_bytes: U64 = 0
    copy_bytes_per_s: Amount | None = None
    write_changes_per_s: Amount | None = None
    apply_changes_per_s: Amount | None = None
    backlog_changes: U64 = 0
    check_s: Amount = 0.0
    outage_s: Amount = 0.0
    slot_max_changes: U64 | None = None
    slot_max_bytes: U64 | None = None
    slot_idle_ms: U64 | None = None
    change_bytes: Amount | None = None


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """What would help: if `field` of the situation were `value`, in words."""

    field: str
    value: float
    says: str


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that stands against it: each of `remedies` would do away with it.

    `ratio` is how many times more is needed than there is; None if there is nothing at all.
    """

    verdict: Convergence
    says: str
    ratio: float | None
    remedies: tuple[Remedy, ...] = ()


class Limit(NamedTuple):
    """A limit of the log: its field, in changes, and how much of its unit a change takes."""

    field: str
    changes: int
    unit: float


def reasons_against(now: Situation) -> list[Reason]:
    """Return what stands against it, worst first; nothing if it converges.

    What is not known is taken for the best.
    """
    reasons = [
        reason
        for reason in (*_stall(now), *_pace(now), *_windows(now), *_idle(now))
        if reason.verdict is not Convergence.CONVERGES
    ]
    return sorted(reasons, key=lambda one: -math.inf if one.ratio is None else -one.ratio)


def copy_s(now: Situation) -> float | None:
    """Return how long copying takes, without an outage; None if not known, infinite if never."""
    if not now.left_bytes:
        return 0.0
    if now.copy_bytes_per_s is None:
        return None
    return now.left_bytes / now.copy_bytes_per_s if now.copy_bytes_per_s else math.inf


def ready_s(now: Situation) -> float | None:
    """Return after how long the log can be applied; as `copy_s`, with the outage."""
    copying_s = copy_s(now)
    return None if copying_s is None else copying_s + now.check_s + now.outage_s


def limits(now: Situation) -> Iterator[Limit]:
    """Yield each limit of the source's log that can be said in changes."""
    if now.slot_max_changes is not None:
        yield Limit("slot_max_changes", now.slot_max_changes, 1.0)
    if now.slot_max_bytes is not None and now.change_bytes:
        change_bytes = max(1.0, now.change_bytes)
        yield Limit("slot_max_bytes", int(now.slot_max_bytes / change_bytes), change_bytes)


def _stall(now: Situation) -> Iterator[Reason]:
    if now.left_bytes and now.copy_bytes_per_s == 0:
        yield _reason(math.inf, f"the copy stands still with {size(now.left_bytes)} left", ())


def _pace(now: Situation) -> Iterator[Reason]:
    """Judge whether changes are applied faster than they are written."""
    write, apply = now.write_changes_per_s, now.apply_changes_per_s
    if apply is None or not (write or (now.backlog_changes and not apply)):
        return
    write, ratio = write or 0.0, _ratio(write or 0.0, apply) if apply else math.inf
    never = "it never catches up" if ratio >= 1 else "that leaves little room"
    needed, allowed = rounded_up(write * ROOM or 1.0), rounded_down(apply / ROOM)
    remedies = [_remedy("apply_changes_per_s", needed, f"apply {count(needed)} changes/s or more")]
    if allowed:
        says = f"write {count(allowed)} changes/s or less"
        remedies.append(_remedy("write_changes_per_s", allowed, says))
    yield _reason(
        ratio,
        f"the log grows by {count(write)} changes/s, "
        f"this replica applies {count(apply)}/s: {never}",
        remedies,
    )


def _windows(now: Situation) -> Iterator[Reason]:
    """Judge by each limit whether the log is kept until it can be applied."""
    write = now.write_changes_per_s or 0.0
    before_s = ready_s(now)
    if before_s is None:
        before_s = now.check_s + now.outage_s
    waiting = now.backlog_changes + (write * before_s if write else 0.0)
    for limit in limits(now):
        yield _reason(
            _ratio(waiting, limit.changes),
            _too_short(now, limit, write, before_s),
            _widening(now, limit, write, before_s),
        )


def _too_short(now: Situation, limit: Limit, write: float, before_s: float) -> str:
    if not write or now.backlog_changes >= limit.changes:
        return (
            f"the source keeps {count(now.backlog_changes)} changes for this replica already, "
            f"{limit.field} allows {count(limit.changes)}"
        )
    kept = duration((limit.changes - now.backlog_changes) / write)
    if math.isinf(before_s):
        return f"the copy never ends, the log is kept for {kept}"
    what = "the copy takes" if now.left_bytes else "the log is not applied for"
    waiting = now.backlog_changes + write * before_s
    return (
        f"{what} {duration(before_s)}, the log is kept for {kept}: "
        f"{count(waiting)} changes will wait, {limit.field} allows {count(limit.changes)}"
    )


def _widening(now: Situation, limit: Limit, write: float, before_s: float) -> Iterator[Remedy]:
    """Yield what would make a limit suffice: raise it, copy faster, write less."""
    waiting = now.backlog_changes + (write * before_s if write else 0.0)
    if not math.isinf(waiting):
        enough = math.ceil(rounded_up(math.ceil(waiting * ROOM) * limit.unit))
        option = f"--{limit.field.replace('_', '-')}"
        yield _remedy(limit.field, enough, f"keep more of the log: serve {option} {enough}")
    room = limit.changes / ROOM - now.backlog_changes
    if not write or room <= 0:
        return
    left_s = room / write - now.check_s - now.outage_s
    if now.left_bytes and left_s > 0:
        needed = rounded_up(now.left_bytes / left_s)
        yield _remedy("copy_bytes_per_s", needed, f"copy {size(needed)}/s or more")
    if before_s and not math.isinf(before_s):
        allowed = rounded_down(room / before_s)
        says = f"write {count(allowed)} changes/s or less meanwhile"
        yield _remedy("write_changes_per_s", allowed, says)


def _idle(now: Situation) -> Iterator[Reason]:
    """Judge whether the slot survives the longest time in which the source hears nothing.

    That is without a link: a replica that is busy says that it is there.
    """
    silent_s = now.outage_s
    if now.slot_idle_ms is None or not silent_s:
        return
    idle_s = now.slot_idle_ms / 1000
    needed_s = math.ceil(rounded_up(silent_s * ROOM))
    yield _reason(
        _ratio(silent_s, idle_s),
        f"the source hears nothing for {duration(silent_s)} without a link, "
        f"slot_idle_ms allows {duration(idle_s)}",
        [_remedy("slot_idle_ms", needed_s * 1000, f"wait longer: serve --slot-idle {needed_s}")],
    )


def _ratio(needed: float, there: float) -> float:
    return needed / there if there else math.inf if needed else 0.0


def _reason(ratio: float, says: str, remedies: Iterable[Remedy]) -> Reason:
    if ratio >= EXCESS:
        verdict = Convergence.CANNOT
    else:
        verdict = Convergence.DOUBTFUL if ratio * ROOM > 1 else Convergence.CONVERGES
    return Reason(verdict=verdict, says=says, ratio=finite(ratio), remedies=tuple(remedies))


def _remedy(field: str, value: float, says: str) -> Remedy:
    return Remedy(field=field, value=value, says=says)


def finite(number: float) -> float | None:
    """Return the number, None instead of infinity, which JSON does not have."""
    return None if math.isinf(number) else number
