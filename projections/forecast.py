"""Can this bootstrap converge, and when? From rates that were measured and what the source keeps.

The model
---------
S bytes are left to copy at b bytes/s. When all are here, reading them again takes c seconds. The
source is written to at w changes/s, the replica will apply r changes/s. The source holds back k
changes for this replica already; for o seconds in all, replica and source may not reach each other.

- The log can be applied after ``t = S/b + c + o``.
- By then ``p = k + w*t`` changes wait. While they are applied others come, so it takes
  ``p/(r - w)`` to apply them all, if ``w < r``; if not, that never ends.
- The replica acknowledges what it has applied. So if ``w < r``, the source never has to keep more
  than p for it: the log window that a bootstrap needs is all changes between the base backup's LSN
  and the end of the copy, and whatever it is not reachable for.
- A limit of L changes suffices if ``p <= L``. A limit in bytes is divided by the mean size of a
  change. An idle limit suffices if it is longer than o, which may lie in one piece: in c the
  replica says that it is there.

Rates drift, so nothing is judged by a hair. A bootstrap *converges* if it would with each of these
inequalities by a factor `ROOM` to spare. It *cannot* converge if one of them is off by `EXCESS` or
more. What lies between is *doubtful*, and so is what depends on a rate that nobody knows.
"""

from __future__ import annotations

import math

import msgspec

from bootledger.positions import U64, U64_MAX
from bootledger.projections.amounts import duration
from bootledger.projections.convergence import (
    Convergence,
    Reason,
    Situation,
    copy_s,
    finite,
    limits,
    ready_s,
    reasons_against,
)


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What will become of a bootstrap at the rates of `situation`.

    `reasons` come worst first; there are none if it converges. `unknown` says what is not known,
    and would matter. `copy_ends_in_s` and `caught_up_in_s` are None if not known, or never; they
    hold with the outage that is allowed for, and if the log is kept. `needed_changes` is how many
    changes the source must keep for the replica at most, `window_changes` how many its limits allow
    (None: any number), and `window_ratio` the first by the second.
    """

    verdict: Convergence
    reasons: tuple[Reason, ...]
    unknown: tuple[str, ...]
    copy_ends_in_s: float | None
    caught_up_in_s: float | None
    needed_changes: U64 | None
    window_changes: U64 | None
    window_ratio: float | None
    situation: Situation

    def describe(self) -> str:
        """Return one line: when, how much of the log window, and why if it is not certain."""
        times = [
            f"{what} in {duration(when_s)}"
            for what, when_s in (
                ("copy ends", self.copy_ends_in_s if self.situation.left_bytes else None),
                ("caught up", None if self.verdict is Convergence.CANNOT else self.caught_up_in_s),
            )
            if when_s is not None
        ]
        share = self.window_ratio
        parts = [
            ", ".join(times),
            "" if share is None else f"uses {share * 100:,.0f} % of the log window",
            *(reason.says for reason in self.reasons),
            *self.unknown,
        ]
        said = "; ".join(part for part in parts if part)
        return said if self.verdict is Convergence.CONVERGES else f"{_TITLES[self.verdict]}: {said}"


_ORDER = tuple(Convergence)
_TITLES = {Convergence.DOUBTFUL: "may not converge", Convergence.CANNOT: "cannot converge"}


def forecast(now: Situation) -> Forecast:
    """Return what will become of the bootstrap in this situation. Pure."""
    copying_s, before_s = copy_s(now), ready_s(now)
    waiting = _waiting(now, before_s)
    reasons = reasons_against(now)
    unknown, matters = _unknown(now)
    verdict = max((one.verdict for one in reasons), key=_ORDER.index, default=Convergence.CONVERGES)
    if matters and verdict is Convergence.CONVERGES:
        verdict = Convergence.DOUBTFUL
    window = min((limit.changes for limit in limits(now)), default=None)
    return Forecast(
        verdict=verdict,
        reasons=tuple(reasons),
        unknown=unknown,
        copy_ends_in_s=None if copying_s is None else finite(copying_s + now.outage_s),
        caught_up_in_s=_caught_up_s(now, before_s, waiting),
        needed_changes=_whole(waiting),
        window_changes=window,
        window_ratio=None if waiting is None or not window else finite(waiting / window),
        situation=now,
    )


def _waiting(now: Situation, before_s: float | None) -> float | None:
    """Return how many changes wait when the log can be applied; None if that is not known."""
    if now.write_changes_per_s == 0:
        return float(now.backlog_changes)
    if now.write_changes_per_s is None or before_s is None:
        return None
    return now.backlog_changes + now.write_changes_per_s * before_s


def _caught_up_s(now: Situation, before_s: float | None, waiting: float | None) -> float | None:
    write, apply = now.write_changes_per_s, now.apply_changes_per_s
    if waiting is None or before_s is None or write is None:
        return None
    if not waiting:
        return finite(before_s)
    if apply is None or apply <= write:
        return None
    return finite(before_s + waiting / (apply - write))


def _whole(changes: float | None) -> int | None:
    return None if changes is None or changes > U64_MAX else math.ceil(changes)


def _unknown(now: Situation) -> tuple[tuple[str, ...], bool]:
    """Return what is not known of what counts, in words, and whether the verdict depends on it."""
    write, limited = now.write_changes_per_s, now.slot_max_changes is not None
    limited |= now.slot_max_bytes is not None
    missing, matters = [], False
    if now.left_bytes and now.copy_bytes_per_s is None:
        missing.append("how fast it copies is not known yet")
        matters |= limited and write != 0
    if write is None:
        missing.append("how fast the source is written to is not known yet")
        matters = True
    if now.apply_changes_per_s is None and (write != 0 or now.backlog_changes):
        missing.append("how fast this replica applies changes is not known yet")
        matters |= write != 0
    grows = now.backlog_changes > 0 or write != 0
    if now.slot_max_bytes is not None and not now.change_bytes and grows:
        missing.append("how large a change is in the log is not known yet")
        matters = True
    return tuple(missing), matters
