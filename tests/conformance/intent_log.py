"""Judges the intent log: each case's history through our own API, and its log file imported."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from bootledger.errors import BootledgerError
from bootledger.projections.dangling import DanglingIntent
from bootledger.replica.bootstrapper import ReplicaBootstrapper
from bootledger.replica.exchange import exported_lines, import_events
from bootledger.replica.handle import BootstrapHandle
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.reddb_history import event_of
from bootledger.replica.reddb_import import import_log
from bootledger.store.memory import MemoryEventStore
from bootledger.store.port import EventStore
from conformance.intent_log_records import (
    Asked,
    History,
    Record,
    accepted,
    by_intent,
    canonical,
    is_uuid,
    node_of,
    telling_checkpoints,
)
from conformance.intent_log_rules import RULES
from conformance.seed_shape import (
    Entry,
    Line,
    our_entry,
    our_lines,
    our_point,
    phase_of,
    plain,
    progress_point,
    their_entry,
    their_event,
    their_line,
    their_point,
)
from conformance.verdicts import Comparison, Verdict, judge

T = TypeVar("T")

_CALLS = "then_checkpoint_snapshot_transfer(tok-after,77,5,3)_checkpoint(6,4)_complete(9,8)"
_DROP = "then_drop_instead"
_KNOWN = {
    "node_id",
    "scan_for_resume",
    "resume",
    "handle_last_applied_lsn_after_resume",
    "bytes_written_by_resume_itself",  # ours writes its epoch, which the seed does not have
    _CALLS,
    _DROP,
}
_THE_CALLS: tuple[Callable[[BootstrapHandle], None], ...] = (
    lambda handle: handle.checkpoint_snapshot_transfer("tok-after", 77, 5, 3),
    lambda handle: handle.checkpoint(6, 4),
    lambda handle: handle.complete(9, 8),
)


class NotJudged(ValueError):
    """The case asks for something that this walker does not know."""


def walk_intent_log(path: Path) -> Iterator[Verdict]:
    """Yield the verdict on each case of `cases.json`."""
    for number, case in enumerate(json.loads(path.read_text())):
        name = str(number)
        try:
            name = str(case.get("name", number))
            yield judge(name, list(comparisons(case, path.parent)), RULES)
        except Exception as error:  # noqa: BLE001 - whatever it is, the case was not judged
            yield Verdict(name, wrong=f"{type(error).__name__}: {error}")


def comparisons(case: Record, folder: Path) -> Iterator[Comparison]:
    """Yield everything that is compared of a case: its log imported, and its calls made."""
    log = (folder / str(case["log"])).read_bytes() if case["log"] else b""
    yield from _imported(case, log)
    yield from _called(case, log)


@dataclass
class Side:
    """A ledger of ours beside the log that RedDB has of the same.

    `names` gives their ids and ours one name; `histories` are RedDB's records, by that name, and
    `accepted` those that ours has accepted, where they are not all.
    """

    store: EventStore
    log: bytes
    histories: dict[str, History]
    names: dict[str, str] = field(default_factory=dict)
    earlier: dict[str, set[str]] = field(default_factory=dict)
    accepted: dict[str, History] = field(default_factory=dict)
    supersedes: bool = False

    def name(self, intent: object) -> str:
        """The name of an intent of either side."""
        text = canonical(str(intent))
        return self.names.get(text, text)

    def counted(self, name: str) -> int:
        """How many checkpoints of an intent tell something to ours."""
        return telling_checkpoints(self.accepted.get(name, self.histories.get(name, ())))

    def asked(self, what: str, *names: str, **more: object) -> Asked:
        """What a comparison about these intents is asked with.

        RedDB invents an id for one that is no UUID: such an id stands for any of those.
        """
        order = tuple(dict.fromkeys((*self.histories, *self.accepted)))
        invented = [n for n in self.histories if not is_uuid(n)]
        concerned = {n for name in names for n in ([name] if name in order else invented)}
        known = tuple(name for name in order if name in concerned)
        return Asked(
            what,
            known,
            known.index(names[0]) if names and names[0] in known else None,
            tuple(self.histories.get(name, ()) for name in known),
            tuple(self.accepted.get(name, ()) for name in known),
            self.supersedes,
            log=self.log,
            earlier=frozenset().union(*(self.earlier.get(name, set()) for name in names)),
            **more,
        )

    def of_node(self, node: object) -> tuple[str, ...]:
        """The intents that are a node's, in the log or in an answer to a call."""
        found = {
            name: history or self.histories.get(name, ()) for name, history in self.accepted.items()
        }
        return tuple(
            name
            for name, history in {**self.histories, **found}.items()
            if history
            and (
                node_of(history) == node
                or (node_of(history) is None and history[0].get("actor") == node)
            )
        )


# --- The two ways in ----------------------------------------------------------------------------


def _imported(case: Record, log: bytes) -> Iterator[Comparison]:
    store = MemoryEventStore()
    import_log(store, io.BytesIO(log), lambda _: None)
    yield from _answers(case, Side(store, log, by_intent(log), accepted=accepted(log)))


def _called(case: Record, log: bytes) -> Iterator[Comparison]:
    history = case["history"]
    assert isinstance(history, list)
    if any(call["op"] == "file_edited_by_hand" for call in history):
        return  # what the calls made is not what RedDB was asked about
    theirs = by_intent(log)
    side = Side(MemoryEventStore(), log, {}, supersedes=True)
    calls = _Calls(side, iter(theirs))
    yield from calls.run(history)
    side.histories = {side.name(intent): records for intent, records in theirs.items()}
    yield from _answers(case, side)


class _Calls:
    """Runs a history through our own API; handles go by the names that the history gives them."""

    def __init__(self, side: Side, their_ids: Iterator[str]) -> None:
        self._side = side
        self._their_ids = their_ids
        self._log = IntentLog(side.store, sink=lambda _: None, clock=itertools.count(1).__next__)
        self._handles: dict[str, BootstrapHandle] = {}
        self._intent_of: dict[str, str] = {}

    def run(self, history: list[Record]) -> Iterator[Comparison]:
        """Make every call and compare how it went; what is left open at the end is abandoned."""
        try:
            for call in history:
                yield from self._make(str(call["op"]), str(call["handle"]), call)
        finally:
            for handle in self._handles.values():
                handle.close()

    def _make(self, op: str, name: str, call: Record) -> Iterator[Comparison]:
        match op:
            case "begin" | "AdminIntentLog.begin":
                yield from self._begin(name, call)
            case "resume":
                yield from self._resume(name, call)
            case "crash" | "drop_without_complete":
                self._leave(name, drop=op != "crash")
            case _:
                yield from self._go_on(op, name, call)

    def _begin(self, name: str, call: Record) -> Iterator[Comparison]:
        refused = "err" in call
        args = call.get("args", {"replica_id": call.get("node")})
        first = {"id": str(UUID(int=0)), "phase": "running", "args": args, **call}
        if not refused:
            self._side.names[next(self._their_ids)] = name
            self._side.histories[name] = (first,)
        self._side.accepted[name] = ()
        self._intent_of[name] = name
        outcome, live = "ok", self._is_live(node_of((first,)))
        try:
            handle = self._handles[name] = self._begun(call)
        except BootledgerError:
            outcome = "refused"
        else:
            self._side.accepted[name] = (first,)
            self._side.names[str(handle.intent_id)] = name
            yield from self._labels(call, handle)
        asked = self._side.asked("call", name, call=call, live=live)
        yield from self._compared(name, Comparison(asked, "refused" if refused else "ok", outcome))

    def _is_live(self, node: object) -> bool:
        """Whether a handle of a node is open."""
        intents = {self._side.name(handle.intent_id) for handle in self._handles.values()}
        return bool(intents & set(self._side.of_node(node)))

    def _begun(self, call: Record) -> BootstrapHandle:
        if call["op"] == "begin":
            return ReplicaBootstrapper(str(call["node"])).begin(
                self._log, int(str(call["source_lsn"])), int(str(call["target_lsn_hint"]))
            )
        args = call["args"]
        assert isinstance(args, dict)
        own = ("replica_id", "source_lsn", "target_lsn_hint")
        node = args.get("replica_id", call["actor"])
        labels: dict[str, object] = {}
        if call["actor"] != node:
            labels["actor"] = call["actor"]
        if more := {key: value for key, value in args.items() if key not in own}:
            labels["args"] = more
        lsns = (args.get(key) for key in own[1:])
        return self._log.begin(node, *lsns, labels=labels)

    def _labels(self, call: Record, handle: BootstrapHandle) -> Iterator[Comparison]:
        """Compare which of the arguments were redacted."""
        begin, history = handle.progress.begin, None
        assert begin is not None
        for their_id, records in by_intent(self._side.log).items():
            if self._side.name(their_id) == self._side.name(handle.intent_id):
                history = records
        kept = begin.labels.get("args")
        if isinstance(kept, dict) and history is not None:
            args = history[0]["args"]
            assert isinstance(args, dict)
            for key, value in kept.items():
                asked = self._side.asked(
                    "argument", self._side.name(handle.intent_id), call={"name": key}
                )
                yield Comparison(asked, plain(args[key]), plain(value))

    def _resume(self, name: str, call: Record) -> Iterator[Comparison]:
        node, theirs = call["node"], call["resume"]
        assert theirs is None or isinstance(theirs, dict)
        live = self._is_live(node)
        resumed = _bootstrapper(node, lambda found: found.resume(self._log))
        asked = self._side.asked("call", *self._side.of_node(node), call=call, live=live)
        if resumed is None:
            self._intent_of[name] = name
            yield from self._compared(name, Comparison(asked, their_point(theirs), None))
            return
        point, handle = resumed
        self._handles[name] = handle
        self._intent_of[name] = self._side.name(handle.intent_id)
        yield Comparison(asked, their_point(theirs), our_point(point))

    def _leave(self, name: str, *, drop: bool) -> None:
        handle = self._handles.pop(name, None)
        if handle is None:
            return
        if drop:
            with handle:
                pass
            intent = self._intent_of[name]
            left = {"id": str(UUID(int=0)), "phase": "aborted"}
            self._side.accepted[intent] = (*self._side.accepted[intent], left)
        handle.close()

    def _go_on(self, op: str, name: str, call: Record) -> Iterator[Comparison]:
        method = getattr(self, f"_{op.rpartition('.')[2]}", None)
        if op not in _GOES_ON or method is None:
            raise NotJudged(f"nobody knows the call {op!r}")
        handle = self._handles.get(name)
        if handle is None:
            return  # it was refused at the beginning, and that was judged
        before = progress_point(handle.progress)
        outcome = "ok"
        try:
            method(op, handle, call)
        except BootledgerError:
            outcome = "refused"
        intent = self._intent_of[name]
        names = (intent, *_siblings(self._side, intent))
        asked = self._side.asked("call", *names, call=call, applied=before)
        theirs = "refused" if "err" in call else "ok"
        record = {"id": str(UUID(int=0)), "phase": _phase(op), "progress": call, **call}
        for went, records in ((theirs, self._side.histories), (outcome, self._side.accepted)):
            if went == "ok":
                records[intent] = (*records.get(intent, ()), record)
        yield from self._compared(intent, Comparison(asked, theirs, outcome))

    def _checkpoint(self, op: str, handle: BootstrapHandle, call: Record) -> None:
        if op == "checkpoint":
            handle.checkpoint(int(str(call["last_applied_lsn"])), int(str(call["batches_applied"])))
        else:
            self._record(f"checkpoint_{call['n']}", handle, call)

    def _checkpoint_snapshot_transfer(self, _: str, handle: BootstrapHandle, call: Record) -> None:
        handle.checkpoint_snapshot_transfer(
            str(call["snapshot_token"]),
            int(str(call["snapshot_offset"])),
            int(str(call["last_applied_lsn"])),
            int(str(call["batches_applied"])),
        )

    def _complete(self, op: str, handle: BootstrapHandle, call: Record) -> None:
        if op == "complete":
            handle.complete(int(str(call["total_records"])), int(str(call["duration_ms"])))
        else:
            self._record("completed", handle, call)

    def _abort(self, _: str, handle: BootstrapHandle, call: Record) -> None:
        self._record("aborted", handle, call)

    def _record(self, phase: str, handle: BootstrapHandle, call: Record) -> None:
        event = event_of(phase, call, handle.progress, handle.progress.recorded_at_ms)
        if event is not None:
            handle.record(event)

    def _compared(self, intent: str, comparison: Comparison) -> Iterator[Comparison]:
        """Yield a comparison, and remember for the intent which rules explain its difference."""
        if comparison.theirs != comparison.ours:
            rules = {rule.name for rule in RULES if rule.explains(comparison)}
            self._side.earlier.setdefault(intent, set()).update(rules)
        yield comparison


def _phase(op: str) -> str:
    ends = {"complete": "completed", "abort": "aborted"}
    return ends.get(op.rpartition(".")[2], "checkpoint_1")


_GOES_ON = {
    "checkpoint",
    "checkpoint_snapshot_transfer",
    "complete",
    "IntentHandle.checkpoint",
    "IntentHandle.complete",
    "IntentHandle.abort",
}


# --- What both sides answer afterwards ----------------------------------------------------------


def _answers(case: Record, side: Side) -> Iterator[Comparison]:
    heard: list[DanglingIntent] = []
    log = IntentLog(side.store, sink=heard.append)
    unfinished = log.list_unfinished()
    ours = {side.name(intent.intent_id): our_entry(intent) for intent in unfinished}
    entries = case["list_unfinished"]
    assert isinstance(entries, list)
    theirs = {side.name(entry["id"]): their_entry(entry) for entry in entries}
    for name in {**theirs, **ours}:
        yield from _entries(side, name, theirs.get(name), ours.get(name))
    log.scan_and_report()
    events = case["dangling_events"]
    assert isinstance(events, list)
    told = {side.name(intent): (op, phase) for intent, op, phase in map(their_event, events)}
    phases = {side.name(i.intent_id): phase_of(i.progress) for i in unfinished}
    said = {side.name(e.intent_id): (e.op, phases[side.name(e.intent_id)]) for e in heard}
    for name in {**told, **said}:
        yield from _events(side, name, told.get(name), said.get(name))
    nodes = case["nodes"]
    assert isinstance(nodes, list)
    for node in nodes:
        yield from _node(side, node)


def _entries(
    side: Side, name: str, theirs: Entry | None, ours: Entry | None
) -> Iterator[Comparison]:
    names = (name, *_siblings(side, name))
    if theirs is None or ours is None:
        yield Comparison(side.asked("entry", *names), theirs, ours)
        return
    asked = side.asked("phase", name, counted=side.counted(name))
    yield Comparison(asked, theirs.phase, ours.phase)
    yield Comparison(side.asked("op", name), theirs.op, ours.op)
    yield Comparison(side.asked("actor", name), theirs.actor, ours.actor)
    for argument in {**theirs.args, **ours.args}:
        pair = (plain(side_of.get(argument)) for side_of in (theirs.args, ours.args))
        yield Comparison(side.asked("argument", name, call={"name": argument}), *pair)
    yield Comparison(side.asked("progress", name), theirs.point, ours.point)
    if theirs.batches is not None and ours.point is not None:
        yield Comparison(side.asked("batches", name), theirs.batches, ours.batches)


def _siblings(side: Side, name: str) -> tuple[str, ...]:
    node = node_of(side.histories[name]) if name in side.histories else None
    return tuple(other for other in side.of_node(node) if other != name)


def _events(
    side: Side,
    name: str,
    theirs: tuple[str, str] | None,
    ours: tuple[str, str] | None,
) -> Iterator[Comparison]:
    if theirs is None or ours is None:
        yield Comparison(side.asked("event", name, *_siblings(side, name)), theirs, ours)
        return
    yield Comparison(side.asked("op", name), theirs[0], ours[0])
    yield Comparison(side.asked("phase", name, counted=side.counted(name)), theirs[1], ours[1])


def _node(side: Side, node: Record) -> Iterator[Comparison]:
    if unknown := set(node) - _KNOWN:
        raise NotJudged(f"nobody knows the questions {sorted(unknown)}")
    node_id = node["node_id"]
    asked = side.asked("node", *side.of_node(node_id), call=node)
    scan, resume = node["scan_for_resume"], node["resume"]
    assert scan is None or isinstance(scan, dict)
    assert resume is None or isinstance(resume, dict)
    log = _copy(side)
    point = _bootstrapper(node_id, lambda found: found.scan_for_resume(log))
    yield Comparison(asked, their_point(scan), our_point(point) if point else None)
    resumed = _bootstrapper(node_id, lambda found: found.resume(log))
    yield Comparison(asked, their_point(resume), our_point(resumed[0]) if resumed else None)
    if resumed is None or resume is None:
        if resumed is not None:
            resumed[1].close()
        return
    with closing(resumed[1]) as handle:
        lsn = node["handle_last_applied_lsn_after_resume"]
        yield Comparison(asked, lsn, handle.last_applied_lsn or 0)
        yield from _went_on(side, node[_CALLS], handle, log)
    log = _copy(side)
    resumed = _bootstrapper(node_id, lambda found: found.resume(log))
    assert resumed is not None
    with closing(resumed[1]) as handle:
        yield from _dropped(side, node[_DROP], handle, log)


def _went_on(
    side: Side, theirs: object, handle: BootstrapHandle, log: IntentLog
) -> Iterator[Comparison]:
    """Compare, call by call, what a resumed handle appends."""
    assert isinstance(theirs, dict)
    name = side.name(handle.intent_id)
    lines = [their_line(line) for line in theirs["appended_lines"]]
    for line, call in itertools.zip_longest(lines, _THE_CALLS):
        if line is None or call is None:
            raise NotJudged("a resumed handle makes three calls, each appends one record")
        at, number = progress_point(handle.progress), handle.progress.checkpoint_number
        if line.phase == "completed":
            yield _ids(side, name, theirs["unfinished_ids_before_complete"], log, None)
        ours = _appended(handle, call, number)
        asked = side.asked("appended", name, applied=at, counted=number + 1)
        yield Comparison(asked, line, ours)
    yield _ids(side, name, theirs["unfinished_ids_after_complete"], log, "completed")


def _appended(
    handle: BootstrapHandle, call: Callable[[BootstrapHandle], None], number: int
) -> Line | None:
    version = handle.progress.version
    try:
        call(handle)
    except BootledgerError:
        return None
    newest = itertools.takewhile(
        lambda recorded: recorded.version > version, handle._store.history(handle.intent_id)
    )
    (line,) = our_lines((recorded.event for recorded in newest), number)
    return line


def _dropped(
    side: Side, theirs: object, handle: BootstrapHandle, log: IntentLog
) -> Iterator[Comparison]:
    """Compare what leaving a resumed handle at once appends."""
    assert isinstance(theirs, dict)
    name = side.name(handle.intent_id)
    number = handle.progress.checkpoint_number
    (line,) = map(their_line, theirs["appended_lines"])

    def leave(left: BootstrapHandle) -> None:
        with left:
            pass

    ours = _appended(handle, leave, number)
    yield Comparison(side.asked("appended", name), line, ours)
    yield _ids(side, name, theirs["unfinished_ids"], log, "aborted")


def _ids(side: Side, name: str, theirs: object, log: IntentLog, ended: str | None) -> Comparison:
    """Compare which intents are unfinished; one that has no name of its own is of any name."""
    assert isinstance(theirs, list)
    ours = {side.name(intent.intent_id) for intent in log.list_unfinished()}
    wanted = {side.name(intent) for intent in theirs}
    concerned = (name, *(wanted ^ ours))
    names = tuple(dict.fromkeys(n for one in concerned for n in (one, *_siblings(side, one))))
    asked = side.asked("ids", *names, call={"ended": ended})
    return Comparison(asked, frozenset(wanted), frozenset(ours))


def _copy(side: Side) -> IntentLog:
    """A copy of a ledger, as a restart finds it."""
    copy = MemoryEventStore()
    import_events(copy, io.BytesIO(b"".join(exported_lines(side.store))))
    return IntentLog(copy, sink=lambda _: None)


def _bootstrapper(node: object, ask: Callable[[ReplicaBootstrapper], T]) -> T | None:
    try:
        return ask(ReplicaBootstrapper(str(node)))
    except BootledgerError:
        return None
