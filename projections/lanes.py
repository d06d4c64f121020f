"""One intent over time, as marks in lanes: as many as a picture has room for, not as there are.

What happens within one column of the picture is one mark that counts.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from bootledger.projections.course import Course, Told
from bootledger.projections.trail import SILENT, Ending, ending_of
from bootledger.statemachine.events import (
    Abort,
    Begin,
    Checkpoint,
    Complete,
    Promote,
    Resume,
    SnapshotChunk,
    Suspend,
    kind_of,
)
from bootledger.statemachine.fold import EMPTY
from bootledger.statemachine.progress import Progress, State

DEFAULT_COLUMNS = 1000


class Mark(msgspec.Struct):
    """What happened in a lane from `start_ms` to `end_ms` (milliseconds since 1970), `count` times.

    `what` is one word or, where several things happened in one column, several. `low` and `high`
    are the bytes that were copied from and to, or the LSN (both the same) that was reached.
    """

    start_ms: int
    end_ms: int
    what: str
    count: int = 1
    low: int = 0
    high: int = 0


class Lanes(msgspec.Struct):
    """One intent from begin to end, or to its last event. Each lane has two marks a column or less.

    `states`: where it stood. `copied` and `reused`: ranges of the snapshot. `applied`: checkpoints.
    `owners`: from the first to the last event of each life. `deaths`: from the last event of an
    owner that ended without a word to the one that shows it. `suspended`: why. `turns`: begin,
    generations, promote and the end. `size_bytes` is that of the largest snapshot, 0 if none was
    told; `progress` is what was true at the end.
    """

    begin_ms: int
    end_ms: int
    states: list[Mark] = []
    copied: list[Mark] = []
    reused: list[Mark] = []
    applied: list[Mark] = []
    owners: list[Mark] = []
    deaths: list[Mark] = []
    suspended: list[Mark] = []
    turns: list[Mark] = []
    size_bytes: int = 0
    progress: Progress = EMPTY


def lanes(course: Course, columns: int = DEFAULT_COLUMNS) -> Lanes:
    """Return the marks of an intent for a picture that is `columns` pixels wide, in one pass."""
    fold = _Fold(course.begin_ms, course.end_ms, columns)
    for told in course:
        fold.see(told)
    return fold.ended()


class _Fold:
    """Marks so far. Time only goes on: a clock that went back stands still here."""

    def __init__(self, begin_ms: int, end_ms: int, columns: int) -> None:
        self._begin_ms, self._end_ms = begin_ms, end_ms
        self._column_ms = (end_ms - begin_ms) / columns
        self._marks: defaultdict[str, list[Mark]] = defaultdict(list)
        self._now_ms = self._entered_ms = self._alive_ms = self._stopped_ms = begin_ms
        self._state = State.ABSENT
        self._progress = EMPTY
        self._size_bytes = 0
        self._why = ""
        self._owned = self._resumed = False

    def see(self, told: Told) -> None:
        """Take one more event into account."""
        event, before_ms = told.recorded.event, self._now_ms
        self._now_ms = min(max(event.recorded_at_ms, before_ms), self._end_ms)
        if told.after.state is not told.before.state:
            self._leave_state()
            self._state = told.after.state
        self._end_life(told, before_ms)
        match event:
            case Begin():
                self._own()
                self._turn("begin")
            case SnapshotChunk():
                self._chunk(event, opens=told.after.generation != told.before.generation)
            case Checkpoint():
                lsn = event.applied_lsn
                self._add("applied", self._now_ms, self._now_ms, "applied", lsn, lsn)
            case Suspend() if told.before.state is not State.SUSPENDED:
                self._stopped_ms = self._now_ms
            case Resume():
                self._own()
            case Promote() | Complete() | Abort():
                self._turn(kind_of(event))
            case _:
                pass
        if told.before.state is State.SUSPENDED is not told.after.state:
            self._add("suspended", self._stopped_ms, self._now_ms, self._why)
        self._progress, self._resumed = told.after, isinstance(event, Resume)
        snapshot = told.after.snapshot
        self._size_bytes = max(self._size_bytes, (snapshot and snapshot.size_bytes) or 0)
        self._why = told.after.suspension.cause_class if told.after.suspension else ""

    def ended(self) -> Lanes:
        """Return all marks, with what had not come to its end."""
        self._leave_state()
        if self._state is State.SUSPENDED:
            self._add("suspended", self._stopped_ms, self._end_ms, self._why)
        if self._owned:
            self._life(self._progress, self._now_ms)
        return Lanes(
            self._begin_ms,
            self._end_ms,
            size_bytes=self._size_bytes,
            progress=self._progress,
            **self._marks,
        )

    def _own(self) -> None:
        self._owned, self._alive_ms = True, self._now_ms

    def _end_life(self, told: Told, before_ms: int) -> None:
        before, event = told.before, told.recorded.event
        ending = ending_of(before, event)
        if ending is None:
            return
        self._owned = False
        if ending in SILENT:
            died = "died" if ending is Ending.DIED else "died or was stopped"
            self._add("deaths", before_ms, self._now_ms, f"{died}, {before.state}")
            self._life(before, before_ms)
        elif not (isinstance(event, Suspend) and event.actor and self._resumed):
            # An operator who takes an intent up and puts it down again at once was no owner.
            self._life(before, self._now_ms)

    def _life(self, progress: Progress, end_ms: int) -> None:
        self._add("owners", self._alive_ms, end_ms, f"epoch {progress.epoch}")

    def _leave_state(self) -> None:
        if self._state is not State.ABSENT:
            self._add("states", self._entered_ms, self._now_ms, self._state.value)
        self._entered_ms = self._now_ms

    def _chunk(self, event: SnapshotChunk, *, opens: bool) -> None:
        if opens:
            self._turn(f"generation {event.generation}")
        start, end = event.staged
        if end > start:
            self._add("copied", self._now_ms, self._now_ms, "copied", start, end)
        for start, end in event.reused:
            self._add("reused", self._now_ms, self._now_ms, "reused", start, end)

    def _turn(self, what: str) -> None:
        self._add("turns", self._now_ms, self._now_ms, what)

    def _add(
        self, lane: str, start_ms: int, end_ms: int, what: str, low: int = 0, high: int = 0
    ) -> None:
        """Add a mark, or make it part of the last one if both fit into one column."""
        marks = self._marks[lane]
        if not marks or end_ms - marks[-1].start_ms >= max(self._column_ms, 1):
            marks.append(Mark(start_ms, end_ms, what, 1, low, high))
            return
        last = marks[-1]
        last.end_ms, last.count = end_ms, last.count + 1
        last.low, last.high = min(last.low, low), max(last.high, high)
        if what not in last.what.split(_AND):
            several = _AND.join((last.what, what))
            last.what = several if several.count(_AND) < _MOST_NAMED else last.what


_AND = ", "
_MOST_NAMED = 4
