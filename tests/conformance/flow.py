"""The whole download, our loop against a primary that behaves as the vector says.

What is compared after each run: the result, the requests, whether the intent is open, completed or
aborted and whether it is the first one still, how many are unfinished, what is in service (LSN and
timeline), the bytes of the database, and the parts that are staged. Not compared: the records of
the two logs (their events are others), and the names of the files in service (`CURRENT` here, the
ready marker and a promotion at the next start there).

A fault belongs to a request by its number. Where RedDB, after an error, asks for the beginning once
more although it is staged, ours has one request less, and the numbers are shifted by it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

from worlds import CrashingFiles

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME
from bootledger.basebackup.publishing import open_manifest
from bootledger.basebackup.reddb_manifest import (
    BaseBackupChunkRef,
    PrimaryReplicaBaseBackupManifest,
)
from bootledger.basebackup.reddb_spool import Spool
from bootledger.basebackup.reddb_stream import WalStreamChunk, WalStreamOpen
from bootledger.basebackup.reddb_wire import BaseBackupChunk, BaseBackupRequest
from bootledger.errors import BootledgerError, SimulatedCrash, SourceUnavailable
from bootledger.files import Files
from bootledger.operator_events import OperatorEvent
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.loop import Replication
from bootledger.replica.ports import SourceIdentity
from bootledger.replica.readers import read_current
from bootledger.replica.reddb_download import MOST_FRUITLESS
from bootledger.replica.reddb_source import RedDbLog, RedDbSource
from bootledger.replica.settings import Settings
from bootledger.replica.target import LEDGER_NAME, Target, current_directory
from bootledger.statemachine.progress import State
from conformance.answers import Json, Unknown, read_json, verdicts
from conformance.outcomes import empty_root
from conformance.trees import file_entry, our_tree, plant, their_tree
from conformance.verdicts import Comparison, Rule, Verdict

DATABASE_ID = "0197a5a0-0000-7000-8000-000000000001"
Tree: TypeAlias = "dict[str, Json]"

OFFSET, TOKEN, MOST = (f"x-reddb-snapshot-{name}" for name in ("offset", "token", "max-bytes"))
_EDIT = re.compile(
    r"(?:(?P<end>first|last) byte of )?staged chunk (?P<ordinal>\d+) "
    r"(?:overwritten with (?P<byte>[0-9a-f]{2})"
    r"|truncated to (?P<length>\d+) bytes?|(?:was )?(?:removed|deleted))"
)
"""What a vector says in words was done to a staged part."""
STAGING = "main.rebootstrap.redbase/"
PENDING = "main.rebootstrap.pending.rdb"


# --- what the vector says -----------------------------------------------------------------------


@dataclass(frozen=True)
class Primary:
    """What the scripted primary has, and to whom it talks."""

    snapshot: bytes
    encoded: bytes
    manifest: PrimaryReplicaBaseBackupManifest
    snapshot_lsn: int
    data_file_bytes: int
    has_path: bool
    replica_id: str

    @classmethod
    def of(cls, case: Mapping[str, Json]) -> Primary:
        """Return the primary of a case."""
        match case:
            case {
                "replica_id": str(replica_id),
                "primary": {
                    "snapshot_hex": str(snapshot),
                    "manifest_hex": str(encoded),
                    "snapshot_lsn": int(snapshot_lsn),
                    "data_file_bytes": int(data_file_bytes),
                    "has_path": bool(has_path),
                },
            }:
                manifest = PrimaryReplicaBaseBackupManifest.decode(bytes.fromhex(encoded))
                return cls(
                    bytes.fromhex(snapshot),
                    bytes.fromhex(encoded),
                    manifest,
                    snapshot_lsn,
                    data_file_bytes,
                    has_path,
                    replica_id,
                )
        raise Unknown(f"no primary in {sorted(case)}")

    @property
    def token(self) -> str | None:
        """The token that it gives out."""
        if not self.has_path:
            return None
        return f"snapshot:{self.replica_id}:{self.snapshot_lsn}:{self.data_file_bytes}"

    def sound(self, parts: Tree) -> Tree:
        """Return those of `parts` that are what the manifest says.

        A part that was damaged on the disk is removed when it is read next, which is at another
        moment here and there.
        """
        right = {c.relative_path: [c.chunk_bytes, c.checksum] for c in self.manifest.chunks}
        return {path: entry for path, entry in parts.items() if entry[1:3] == right.get(path)}

    def answer(self, offset: int) -> BaseBackupChunk:
        """Return what it answers to a request, without any fault."""
        found = [c for c in self.manifest.chunks if c.snapshot_offset == offset]
        empty = BaseBackupChunk(
            replica_id=self.replica_id,
            slot_restart_lsn=0,
            snapshot_lsn=self.snapshot_lsn,
            snapshot_token=self.token,
            snapshot_offset=offset,
            snapshot_complete=offset >= self.data_file_bytes,
            basebackup_available=True,
            basebackup_manifest=self.encoded,
        )
        return self.with_chunk(empty, found[0]) if found else empty

    def with_chunk(self, answer: BaseBackupChunk, chunk: BaseBackupChunkRef) -> BaseBackupChunk:
        """Return the answer with that chunk in it."""
        end = chunk.snapshot_offset + chunk.chunk_bytes
        return replace(
            answer,
            basebackup_chunk_ordinal=chunk.ordinal,
            basebackup_chunk=self.snapshot[chunk.snapshot_offset : end],
        )


@dataclass(frozen=True)
class Run:
    """One run, as RedDB did it."""

    faults: Mapping[int, Mapping[str, Json]]
    edit: str | None
    crashed: bool
    result: Json
    requests: list[list[Json]] | None
    asked: list[int]
    """The offsets that it asked for, as far as requests or checkpoints tell."""
    phases: list[str]
    first_intent: bool
    unfinished: int
    in_service: Json
    tree: Tree

    @classmethod
    def of(cls, run: Json) -> Run:
        """Return the run that a vector tells."""
        match run:
            case {
                "faults": dict(faults),
                "intent_records_appended": list(records),
                "unfinished_after": list(unfinished),
                "replica_tree_after": list(listed),
            }:
                pass
            case _:
                raise Unknown(f"not a run: {run!r:.200}")
        match run.get("result"):
            case {"ok": int(lsn)}:
                result: Json = {"ok": lsn}
            case {"err": _}:
                result = "err"
            case None if "crashed" in run:
                result = "crashed"
            case other:
                raise Unknown(f"unknown result {other!r:.80}")
        requests = run.get("requests")
        phases = [record["phase"] for record in records]
        asked = [int(r[OFFSET]) for r in requests or []] or [
            *([0] if "running" in phases else []),
            *(r["progress"]["snapshot_offset"] for r in records if r.get("progress")),
        ]
        return cls(
            faults={int(number): fault for number, fault in faults.items()},
            edit=run.get("edit_before_run"),
            crashed="crashed" in run,
            result=result,
            requests=None
            if requests is None
            else [[int(r[OFFSET]), r[TOKEN], int(r[MOST])] for r in requests],
            asked=asked,
            phases=phases,
            first_intent=all(record["same_intent_as_first"] for record in records),
            unfinished=len(unfinished),
            in_service=_in_service(run.get("config_tree_writes", [])),
            tree=their_tree(listed),
        )

    @property
    def ended(self) -> str:
        """Whether the intent is completed, aborted or open."""
        last = self.phases[-1] if self.phases else "open"
        return last if last in {"completed", "aborted"} else "open"

    @property
    def staged(self) -> Tree:
        """The files of parts that are there."""
        return {
            path.removeprefix(STAGING): entry
            for path, entry in self.tree.items()
            if path.startswith(STAGING)
        }

    @property
    def database(self) -> Json:
        """The database that came out: length and sums."""
        return self.tree.get(PENDING)


def _in_service(writes: Json) -> Json:
    match writes:
        case []:
            return None
        case [[_, {"rebootstrap_checkpoint_lsn": lsn, "rebootstrap_timeline": timeline}]]:
            return {"lsn": lsn, "timeline": timeline}
    raise Unknown(f"unknown writes {writes!r:.80}")


# --- the scripted primary -----------------------------------------------------------------------


class Script:
    """Answers the requests of one run, with its faults."""

    def __init__(
        self, primary: Primary, run: Run, files: CrashingFiles, staged: set[str], *, shift: int
    ) -> None:
        self.requests: list[list[Json]] = []
        self._primary = primary
        self._run = run
        self._files = files
        self._staged = staged
        self._shift = shift

    def __call__(self, request: BaseBackupRequest) -> str:
        theirs = len(self.requests) + self._shift
        self.requests.append([request.snapshot_offset, request.snapshot_token, request.max_bytes])
        answer = self._primary.answer(request.snapshot_offset)
        fault = self._run.faults.get(theirs)
        return answer.encode() if fault is None else self._faulty(answer, fault, request)

    def _faulty(
        self, answer: BaseBackupChunk, fault: Mapping[str, Json], request: BaseBackupRequest
    ) -> str:
        data = answer.basebackup_chunk or b""
        match fault:
            case {"kind": "exit"}:
                self._files.died_at = f"request {len(self.requests)}"
                self._files.check_alive()
            case {"kind": "status"}:
                raise SourceUnavailable("scripted: connection reset")
            case {"kind": "raw"}:
                return _only_text(fault)
            case {"kind": "corrupt_chunk"}:
                return replace(answer, basebackup_chunk=bytes([data[0] ^ 0xFF]) + data[1:]).encode()
            case {"kind": "short_chunk"}:
                return replace(answer, basebackup_chunk=data[:-1]).encode()
            case {"kind": "no_chunk"}:
                return replace(
                    answer, basebackup_chunk=None, basebackup_chunk_ordinal=None
                ).encode()
            case {"kind": "no_basebackup"}:
                return replace(
                    answer,
                    basebackup_available=False,
                    basebackup_manifest=None,
                    basebackup_chunk=None,
                    basebackup_chunk_ordinal=None,
                ).encode()
            case {"kind": "wrong_offset"}:
                return self._elsewhere(answer, fault, request).encode()
        raise Unknown(f"unknown fault {fault!r:.80}")

    def _elsewhere(
        self, answer: BaseBackupChunk, fault: Mapping[str, Json], request: BaseBackupRequest
    ) -> BaseBackupChunk:
        """Return the answer with another chunk: the one that the fault names, or that was staged.

        The vector need not say which one it was: it is one that RedDB then did not ask for.
        """
        for named in (fault.get("offset"), fault.get("snapshot_offset")):
            if isinstance(named, int):
                return self._primary.answer(named)
        chunks = self._primary.manifest.chunks
        came = self._run.staged
        unasked = [
            chunk
            for chunk in chunks
            if chunk.relative_path in came
            and chunk.relative_path not in self._staged
            and chunk.snapshot_offset not in self._run.asked
        ]
        if unasked:
            self._staged.add(unasked[-1].relative_path)
            return self._primary.with_chunk(answer, unasked[-1])
        if self._run.asked.count(request.snapshot_offset) > 1:
            return self._primary.with_chunk(answer, chunks[0])
        return replace(answer, snapshot_offset=answer.snapshot_offset + 1)


def _files_before(before: Json) -> list[Mapping[str, Json]]:
    """Return the files that were there, each of them told as `path: content`."""
    split = (told.partition(": ") for told in before)
    return [{"path": path, "hex": text.encode().hex()} for path, _, text in split]


def _only_text(fault: Mapping[str, Json]) -> str:
    texts = [v for name, v in fault.items() if name != "kind" and isinstance(v, str)]
    if len(texts) != 1:
        raise Unknown(f"no single payload in {fault!r:.80}")
    return texts[0]


# --- our run ------------------------------------------------------------------------------------


class OpaqueApplier:
    """A database of which nothing is known but its bytes, and what the manifest says of it."""

    def __init__(self, directory: Path, timeline: int) -> None:
        self._timeline = timeline
        with open_manifest(directory / MANIFEST_NAME) as manifest:
            self._lsn = manifest.checkpoint_lsn

    def identity(self) -> SourceIdentity:
        """Return what the source was said to be."""
        return SourceIdentity(DATABASE_ID, self._timeline)

    def applied_lsn(self) -> int:
        """Return the LSN of the base backup."""
        return self._lsn

    def apply(self, changes: object) -> None:
        """Never called: the scripted primary has nothing new."""
        raise AssertionError(changes)

    def record_count(self) -> int:
        """Return none."""
        return 0

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Ours:
    """What our run did."""

    result: Json
    error: str
    requests: list[list[Json]]
    ended: str
    first_intent: bool
    unfinished: int
    in_service: Json
    database: Json
    staged: Tree


class World:
    """The replica's side of one case, over all its runs."""

    def __init__(self, root: Path, case: Mapping[str, Json]) -> None:
        self.primary = Primary.of(case)
        self._target = root / "target"
        self._spool = root / "spool"
        self._chunk_bytes = int(str(case["chunk_bytes"]))
        self._first_intent: UUID | None = None
        for entry in _files_before(case.get("before", [])):
            if entry["path"].startswith(STAGING):  # the others have names that are RedDB's alone
                path = entry["path"].removeprefix(STAGING)
                plant(self._spool / "parts", [{**entry, "path": path}])

    def run(self, run: Run) -> Ours:
        """Do one run, and look at what it left."""
        files = CrashingFiles()
        if run.edit is not None:
            self._edit(run.edit)
        staged = set(our_tree(self._spool / "parts"))
        script = Script(self.primary, run, files, staged, shift=self._skips(run))
        error = ""
        try:
            result: Json = {"ok": self._replicate(script, files)}
        except SimulatedCrash:
            result = "crashed"
        except BootledgerError as wrong:
            result, error = "err", f"{type(wrong).__name__}: {wrong}"
        finally:
            files.bury()
        return self._look(result, error, script.requests)

    def _skips(self, run: Run) -> int:
        """Return how many requests at the beginning of RedDB's run ours does without.

        That is the one for the beginning, if that is staged and we need not ask anew. One that was
        to go wrong counts: then our first one does.
        """
        if "running" not in run.phases or 0 in run.faults or not self._spool.exists():
            return 0
        with closing(Spool.open(self._spool, Files())) as spool:
            if spool.origin is None or spool.origin.ask_anew:
                return 0
            return 0 if any(c.snapshot_offset == 0 for c in spool.missing()) else 1

    def _replicate(self, script: Script, files: CrashingFiles) -> int:
        timeline = self.primary.manifest.timeline
        node_id = self.primary.replica_id
        with (
            RedDbSource.open(
                script,
                SourceIdentity(DATABASE_ID, timeline),
                self._spool,
                files,
                replica_id=node_id,
                max_bytes=self._chunk_bytes,
                log=RedDbLog(self._log, _no_record),
                sleep=_no_sleep,
            ) as source,
            Target.open(
                self._target, files, source_database_id=DATABASE_ID, node_id=node_id
            ) as target,
            IntentLog.open(
                self._target / LEDGER_NAME, files=files, sink=_quiet, clock=lambda: 1
            ) as log,
        ):
            replication = Replication(
                node_id,
                log,
                source,
                target,
                partial(OpaqueApplier, timeline=timeline),
                files=files,
                settings=Settings(clock=lambda: 1),
            )
            return replication.run().applied_lsn

    def _log(self, _: WalStreamOpen) -> str:
        return WalStreamChunk(current_lsn=self.primary.manifest.checkpoint_lsn).encode()

    def _look(self, result: Json, error: str, requests: list[list[Json]]) -> Ours:
        with IntentLog.open(self._target / LEDGER_NAME, sink=_quiet) as log:
            unfinished = log.list_unfinished()
            intents = list(dict.fromkeys(entry.intent_id for entry in log.store.read(0, 10_000)))
            last = log.store.head(intents[-1]) if intents else None
        self._first_intent = self._first_intent or (intents[0] if intents else None)
        ended = "open" if unfinished or last is None else State.COMPLETED.value
        promoted = read_current(self._target)
        database = (
            None if promoted is None else our_tree(current_directory(self._target))[DATA_NAME]
        )
        return Ours(
            result=result,
            error=error,
            requests=requests,
            ended=ended,
            first_intent=not intents or intents[-1] == self._first_intent,
            unfinished=len(unfinished),
            in_service=None
            if promoted is None
            else {
                "lsn": self.primary.manifest.checkpoint_lsn,
                "timeline": self.primary.manifest.timeline,
            },
            database=database,
            staged=our_tree(self._spool / "parts"),
        )

    def _edit(self, edit: str) -> None:
        """Do to a staged part what the vector says in words."""
        if (found := _EDIT.fullmatch(edit)) is None:
            raise Unknown(f"unknown edit {edit!r}")
        path = self._part(int(found["ordinal"]))
        if not path.exists():  # damaged before, and removed by ours already
            return
        data = bytearray(path.read_bytes())
        if found["end"]:
            data[0 if found["end"] == "first" else -1] = int(found["byte"], 16)
            path.write_bytes(data)
        elif found["length"]:
            path.write_bytes(data[: int(found["length"])])
        else:
            path.unlink()

    def _part(self, ordinal: int) -> Path:
        return self._spool / "parts" / self.primary.manifest.chunk(ordinal).relative_path


def _no_record(data: bytes) -> tuple[bytes, bytes | None]:
    raise AssertionError(data)


def _no_sleep(_: float) -> None: ...


def _quiet(_: OperatorEvent) -> None: ...


# --- what is different on purpose ---------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What is compared, and what was true of the primary and of our run."""

    what: str
    primary: Primary = field(repr=False)
    ours: Ours = field(repr=False)
    theirs: Run = field(repr=False)
    number: int


def _open_is_one(asked: Asked) -> int:
    """How many intents are unfinished: ours has never more than the one that it is about."""
    return int(asked.ours.ended == "open")


def _suspends(comparison: Comparison) -> bool:
    match comparison:
        case Comparison(Asked("ended", theirs=Run(result="err"), ours=ours), "aborted", "open"):
            return ours.result == "err"
        case Comparison(Asked("unfinished", theirs=run) as asked, int(their_count), int(count)):
            aborted = run.ended == "aborted"
            return aborted and count == their_count + 1 == _open_is_one(asked)
    return False


def _asks_at_the_first_gap(comparison: Comparison) -> bool:
    match comparison:
        case Comparison(Asked("requests", primary), list(theirs), list(ours)):
            chunks = [chunk.snapshot_offset for chunk in primary.manifest.chunks]
            if any(request[0] not in chunks for request in ours):
                return False
        case Comparison(Asked("staged", primary, theirs=Run(edit=str())), dict(was), dict(now)):
            # What was lost on the disk came first here, so as many others are still missing.
            return len(was) == len(now) and primary.sound(now) == now
        case _:
            return False
    known = Counter(tuple(request) for request in theirs)
    asked = Counter(tuple(request) for request in ours)
    in_order = [request[0] for request in ours] == sorted(request[0] for request in ours)
    first = {tuple(request) for request in ours[:1]}
    return (
        in_order
        and all(count <= max(known[request], request in first) for request, count in asked.items())
        and {*known} <= {*asked} | {tuple(request) for request in theirs[:1]}
    )


def _strands_none(comparison: Comparison) -> bool:
    match comparison:
        case Comparison(Asked("first_intent"), False, True):
            return True
        case Comparison(Asked("unfinished") as asked, int(theirs), int(ours)):
            return theirs > ours == _open_is_one(asked)
    return False


def _is_exact(comparison: Comparison) -> bool:
    match comparison:
        case Comparison(Asked("in_service", primary), {"lsn": int(theirs)}, dict(ours)):
            lsn = primary.manifest.checkpoint_lsn
            rounded = theirs != lsn and theirs == min(int(float(lsn)), 2**63 - 1)
            same_else = {**ours, "lsn": theirs} == comparison.theirs
            return rounded and same_else and ours["lsn"] == lsn
    return False


def _releases(comparison: Comparison) -> bool:
    match comparison:
        case Comparison(Asked("staged", ours=ours), dict(_), dict(kept)):
            return not kept and ours.ended == "completed"
    return False


def _is_empty(comparison: Comparison) -> bool:
    match comparison:
        case Comparison(Asked(primary=primary, ours=ours)):
            refused = not primary.manifest.snapshot_bytes and "empty" in ours.error
            return refused and _has_stopped(comparison)
    return False


def _has_stopped(comparison: Comparison) -> bool:
    """Whether our answer is that of a run that was refused: nothing came out, nothing is lost."""
    theirs, ours = comparison.theirs, comparison.ours
    match comparison.asked:
        case Asked("staged"):
            return isinstance(ours, dict) and all(theirs.get(n) == e for n, e in ours.items())
        case Asked("requests"):
            return all(request in theirs for request in ours) and len(ours) <= len(theirs)
        case Asked(what):
            stopped = {
                "result": "err",
                "ended": "open",
                "unfinished": 1,
                "first_intent": True,
                "in_service": None,
                "database": None,
            }
            return what in stopped and ours == stopped[what]
    return False


def _has_gone_on(comparison: Comparison) -> bool:
    """Whether our answer is that of a run that went on where RedDB's cannot.

    It puts the whole database into service, unless a fault of a later request stops it as well.
    """
    match comparison.asked:
        case Asked("requests", primary, number=number) if isinstance(comparison.ours, list):
            if not number and comparison.ours[:1] != comparison.theirs[:1]:
                return False
            offsets = [request[0] for request in comparison.ours]
            chunks = [chunk.snapshot_offset for chunk in primary.manifest.chunks]
            first = chunks.index(offsets[0]) if offsets and offsets[0] in chunks else 0
            tokens = {request[1] for request in comparison.ours[1:]}
            return offsets == chunks[first : first + len(offsets)] and tokens <= {primary.token}
        case Asked("staged", primary, Ours(result="err" | "crashed")):
            kept = comparison.ours.items()
            return primary.sound(comparison.ours).items() == kept >= comparison.theirs.items()
        case Asked("result", theirs=run) if comparison.ours == "crashed":
            return any(fault.get("kind") == "exit" for fault in run.faults.values())
        case Asked(what, primary):
            manifest = primary.manifest
            service = {"lsn": manifest.checkpoint_lsn, "timeline": manifest.timeline}
            came: Mapping[str, Json] = {
                "result": {"ok": manifest.checkpoint_lsn},
                "ended": State.COMPLETED.value,
                "unfinished": 0,
                "first_intent": True,
                "in_service": service,
                "database": file_entry(primary.snapshot),
                "staged": {},
            }
            return what in came and comparison.ours == came[what]
    return False


def _cannot_be_a_header(comparison: Comparison) -> bool:
    match comparison:
        case Comparison(Asked(primary=primary, theirs=Run(result="err"))):
            token = primary.token or ""
            return not (token.isascii() and token.isprintable()) and _has_gone_on(comparison)
    return False


def _asks_no_more(comparison: Comparison) -> bool:
    match comparison:
        case Comparison(Asked(what, ours=ours)):
            if "sent nothing new" not in ours.error or len(ours.requests) < MOST_FRUITLESS:
                return False
            if what == "requests":
                # Ten times the same in vain; RedDB goes on until the vector ends its run.
                asked, last = comparison.ours, comparison.ours[-MOST_FRUITLESS:]
                known = all(request in comparison.theirs for request in asked[1:])
                return known and all(request[0] == last[0][0] for request in last)
            return _has_stopped(comparison)
    return False


RULES = (
    Rule("empty-is-no-database", _is_empty),
    Rule("token-is-text", _cannot_be_a_header),
    Rule("no-endless-asking", _asks_no_more),
    Rule("broken-link-suspends", _suspends),
    Rule("first-gap-first", _asks_at_the_first_gap),
    Rule("strands-none", _strands_none),
    Rule("u64-not-f64", _is_exact),
    Rule("spool-is-released", _releases),
)


def _compared(case: Mapping[str, Json]) -> Iterator[Comparison]:
    runs = case["runs"]
    if not isinstance(runs, list):
        raise Unknown("runs are not a list")
    with empty_root() as root:
        world = World(root, case)
        for number, told in enumerate(runs):
            theirs = Run.of(told)
            ours = world.run(theirs)
            for what, expected, found in (
                ("result", theirs.result, ours.result),
                ("requests", theirs.requests, ours.requests),
                ("ended", theirs.ended, ours.ended),
                ("first_intent", theirs.first_intent, ours.first_intent),
                ("unfinished", theirs.unfinished, ours.unfinished),
                ("in_service", theirs.in_service, ours.in_service),
                ("database", theirs.database, ours.database),
                ("staged", *map(world.primary.sound, (theirs.staged, ours.staged))),
            ):
                if theirs.requests is not None or what != "requests":
                    asked = Asked(what, world.primary, ours, theirs, number)
                    yield Comparison(asked, expected, found)


def walk(path: Path) -> Iterator[Verdict]:
    """Judge every case: all its runs, one after the other on the same files."""
    return verdicts(read_json(path), _compared, RULES)
