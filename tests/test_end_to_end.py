"""The whole, as its users run it: real commands in real processes, killed for real."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from uuid import UUID

import mount_namespace
import msgspec
import processes
import pytest
from counting import READS_CURRENT, STATE, write_numbers
from nursery import run as bootledger
from replicas import NODE, assert_equal, make_primary, quiet

from bootledger.basebackup.publishing import DEFAULT_CHUNK_BYTES
from bootledger.cli.errors import ExitCode
from bootledger.errors import Corrupted
from bootledger.files import Files, is_locked
from bootledger.local import DEFAULT_IN_FLIGHT
from bootledger.projections.dangling import Liveness, report
from bootledger.projections.resume import Resumable
from bootledger.projections.unfinished import UnfinishedIntent
from bootledger.replica.database import Database
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.readers import read_current
from bootledger.replica.target import LEDGER_NAME
from bootledger.statemachine.events import (
    Begin,
    Complete,
    Event,
    Resume,
    SnapshotChunk,
)
from bootledger.statemachine.progress import Progress, State
from bootledger.statemachine.ranges import Range, Ranges, add, subtract, total_bytes

COMMAND = [sys.executable, "-m", "bootledger"]


class Line(msgspec.Struct):
    """One line of `bootledger replicate --json`; only what is looked at here."""

    event: str
    phase: str = ""
    epoch: int = 0
    start: int = 0
    end: int = 0
    intent_id: str = ""


class Life:
    """One start of `bootledger replicate --json`. Its output goes to files, so no kill loses it."""

    def __init__(self, primary: Path, target: Path, *more: object, node: str = NODE) -> None:
        self._place = Path(tempfile.mkdtemp(dir=target.parent, prefix="life-"))
        command = [*COMMAND, "replicate", primary, target, "--node", node, "--json", *more]
        with (self._place / "out").open("wb") as out, (self._place / "err").open("wb") as err:
            self.process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=err)

    @property
    def lines(self) -> list[Line]:
        """Every whole line so far; the last one of a killed process may be cut."""
        whole = (self._place / "out").read_bytes().rpartition(b"\n")[0]
        return [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]

    @property
    def errors(self) -> str:
        """What it said on standard error so far."""
        return (self._place / "err").read_text()

    @property
    def fetched(self) -> list[Range]:
        """What it said that it fetched."""
        return [Range(line.start, line.end) for line in self.lines if line.event == "fetched"]

    @property
    def staged(self) -> list[Range]:
        """What it said that is durable, and that its event is."""
        return [Range(line.start, line.end) for line in self.lines if line.event == "staged"]

    def wait_for(self, wanted: Callable[[Line], bool]) -> None:
        """Wait until it has printed such a line, or has ended."""
        while self.process.poll() is None and not any(map(wanted, self.lines)):
            time.sleep(0.001)

    def freeze(self, ledger: Path) -> None:
        """Stop it by SIGSTOP, where it does not hold the ledger's lock: others may go on."""
        while True:
            self.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if not is_locked(ledger / "write.lock"):
                return
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> bool:
        """Kill it with SIGKILL; return whether it had not completed by then."""
        self.process.kill()
        exit_code = self.process.wait(timeout=60)
        assert exit_code in (0, -signal.SIGKILL), self.errors
        return exit_code != 0

    def finish(self) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(timeout=120)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(timeout=60)


def in_phase(phase: str) -> Callable[[Line], bool]:
    """Return whether a line says that this phase begins."""
    return lambda line: line.phase == phase


def is_event(event: str) -> Callable[[Line], bool]:
    """Return whether a line is of this kind."""
    return lambda line: line.event == event


def make_big_primary(path: Path, size_mb: int) -> None:
    """Create a primary of random records under random keys, without a change log."""
    chance = random.Random(size_mb)
    Database.create(path, Files())
    with Database.open(path, Files(), name="primary") as primary:
        for _ in range(size_mb // 4):
            records = [(chance.randbytes(16), chance.randbytes(2**18)) for _ in range(16)]
            primary.prune(primary.write(records))


@pytest.fixture(scope="module")
def big_primary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a primary that takes a while to copy: some twelve chunks."""
    path = tmp_path_factory.mktemp("big") / "primary"
    make_big_primary(path, 48)
    return path


# --- Killed at any time -------------------------------------------------------------------------

WRITER = """
import random, sys, time
from contextlib import ExitStack
from pathlib import Path
from bootledger.files import Files, is_locked
from bootledger.replica.database import Database
chance = random.Random(7)
with Database.open(Path(sys.argv[1]), Files(), name="primary") as primary:
    print("writing", flush=True)
    while True:
        primary.write(
            [
                (b"live/%d" % chance.randrange(5000), chance.choice([None, chance.randbytes(90)]))
                for _ in range(20)
            ]
        )
        time.sleep(0.004)
"""


def unfinished(target: Path) -> UnfinishedIntent | None:
    """Return the node's only unfinished intent, as the ledger has it: its owner is dead."""
    if not (target / LEDGER_NAME).is_dir():
        return None
    with IntentLog.open(target / LEDGER_NAME, create=False, sink=quiet) as log:
        found = log.list_unfinished(NODE)
        assert [log.store.claimed(intent.intent_id) for intent in found] == [False] * len(found)
        assert [it.liveness for it in report(found)] == [Liveness.STOPPED_WITHOUT_WORD] * len(found)
    assert len(found) <= 1
    return found[0] if found else None


def history(ledger: Path) -> list[tuple[UUID, Event]]:
    """Return every event of a ledger, oldest first."""
    with IntentLog.open(ledger, create=False, sink=quiet) as log:
        return [(found.intent_id, found.event) for found in log.store.read(0, 100_000)]


def staged_of(intent: UnfinishedIntent | None) -> Ranges:
    """Return what the ledger says is staged."""
    snapshot = intent.progress.snapshot if intent else None
    return snapshot.staged if snapshot else ()


def published(primary: Path) -> dict[str, int]:
    """Return every base backup that the primary keeps, and which file its manifest is."""
    found = (primary / "basebackups").glob("*/manifest")
    return {path.parent.name: path.stat().st_ino for path in found}


def on_disk(backup: Path, target: Path) -> set[Range]:
    """Return the chunks of the first candidate that equal those of the base backup."""
    candidate = target / "gen-0001" / "data.mdb"
    if not candidate.exists():
        return set()
    same: set[Range] = set()
    with (backup / "data.mdb").open("rb") as expected, candidate.open("rb") as actual:
        offset = 0
        while chunk := expected.read(DEFAULT_CHUNK_BYTES):
            if chunk == actual.read(DEFAULT_CHUNK_BYTES):
                same.add(Range(offset, offset + len(chunk)))
            offset += len(chunk)
    return same


def check_life(
    life: Life,
    before: UnfinishedIntent | None,
    after: UnfinishedIntent | None,
    here: set[Range],
) -> None:
    """Check that a life went on from where the ledger stood, and where it stands after the kill.

    `here` are the chunks that the kill has left on disk.
    """
    was = before.progress if before else Progress()
    if after is None:  # it died before its begin, or after its completion
        return
    now = after.progress
    same = before is not None and before.intent_id == after.intent_id
    first = next((line for line in life.lines if line.event == "step"), None)
    if same:
        # A life that was killed before its first sign may or may not have been recorded.
        assert now.epoch in ((was.epoch + 1,) if first else (was.epoch, was.epoch + 1))
        assert not first or first.epoch == was.epoch + 1
        assert total_bytes(subtract_all(staged_of(before), staged_of(after))) == 0
        assert now.generation in {was.generation, 1}
    else:
        assert now.epoch == 1
    # At most the chunks that were in flight are fetched again.
    staged = staged_of(after) if now.snapshot else tuple(life.fetched)
    lost = [chunk for chunk in life.fetched if subtract_all((chunk,), staged)]
    assert len(set(lost) - here) <= DEFAULT_IN_FLIGHT
    # What it said to be staged is.
    assert [chunk for chunk in life.staged if subtract_all((chunk,), staged)] == []


def subtract_all(ranges: Ranges, taken: Ranges) -> Ranges:
    """Return what of `ranges` is in none of `taken`."""
    for each in taken:
        ranges = subtract(ranges, each)
    return ranges


def check_history(events: list[tuple[UUID, Event]], starts: int) -> None:
    """Check a node's whole history: one bootstrap at a time, one base backup, no byte twice."""
    running: UUID | None = None
    copied: Ranges = ()
    pins = takings = 0
    for intent_id, event in events:
        assert isinstance(event, Begin) == (running is None)
        assert running in {None, intent_id}
        running = None if isinstance(event, Complete) else intent_id
        takings += isinstance(event, Begin | Resume)
        if isinstance(event, SnapshotChunk):
            assert event.generation == 1
            pins += event.size_bytes is not None
            chunk = Range(event.offset_bytes, event.offset_bytes + event.length_bytes)
            if event.length_bytes:
                assert subtract_all((chunk,), copied) == (chunk,)
                copied = add(copied, chunk)
    assert running is None
    assert pins == 1
    assert takings <= starts + 1  # a promotion that was interrupted is followed by another intent


def kill_until_it_completes(primary: Path, target: Path, chance: random.Random) -> tuple[int, int]:
    """Kill life after life, checking each, until one completes; return how many, and in the copy.

    Where a life may be killed moves on slowly, so that there is an end on any machine.
    """
    kills = kills_in_copy = 0
    longest_s, copying = 0.03, False
    before: UnfinishedIntent | None = None
    here: set[Range] = set()
    manifests: dict[str, int] = {}
    while True:
        with Life(primary, target) as life:
            if kills >= 2 and not copying:
                life.wait_for(in_phase("copying"))
            elif kills % 4 != 3:  # else it may die before its first sign of life
                life.wait_for(lambda _: True)
            time.sleep(chance.uniform(0, longest_s))
            killed = life.kill()
        assert set(life.fetched).isdisjoint(here), "what was on disk was fetched again"
        if not killed:
            return kills, kills_in_copy
        kills += 1
        assert kills < 60
        after = unfinished(target)
        snapshot = after.progress.snapshot if after else None
        here = set()
        if snapshot and snapshot.token in (found := published(primary)):
            here = on_disk(primary / "basebackups" / snapshot.token, target)
            assert subtract_all(snapshot.staged, tuple(here)) == (), "claimed, and not on disk"
            assert (
                manifests.setdefault(snapshot.token, found[snapshot.token]) == found[snapshot.token]
            ), "the base backup was published again"
        check_life(life, before, after, here)
        kills_in_copy += life.fetched != []
        copying = copying or snapshot is not None
        longest_s *= 1.25
        before = after


@pytest.mark.parametrize("seed", [pytest.param(1, marks=pytest.mark.crash), 2])
def test_killed_at_any_time_again_and_again_it_goes_on_where_it_was(
    tmp_path: Path, seed: int
) -> None:
    """SIGKILL at random times while writes go on: nothing starts over, and the end is equal.

    One seed of the two is for `make crash`.
    """
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_big_primary(primary, 32)
    writer = processes.start(WRITER, primary)
    try:
        processes.wait_for_line(writer)
        kills, kills_in_copy = kill_until_it_completes(primary, target, random.Random(seed))
    finally:
        processes.kill(writer)
    assert kills_in_copy >= 2
    assert bootledger("replicate", primary, target, "--node", NODE).returncode == 0
    assert_equal(primary, target)
    check_history(history(target / LEDGER_NAME), kills + 2)
    assert published(primary) == {}


# --- Read while it is replaced ------------------------------------------------------------------

READS_ONE = f"""{STATE}
with opened(Path(sys.argv[1])) as env:
    first = state(env)
    print(first, flush=True)
    while True:
        assert state(env) == first
        time.sleep(0.005)
"""
HOLDS_ONE = f"""{STATE}
from bootledger.replica.readers import open_current

with open_current(Path(sys.argv[1])) as directory:
    print(directory.name, flush=True)
    while True:
        with opened(directory) as env:
            assert state(env) == 400
        time.sleep(0.005)
"""


def test_readers_see_whole_databases_in_order_while_their_replica_is_replaced(
    tmp_path: Path,
) -> None:
    """Promotions, killed in their midst: no error, no mixture, no step back for any reader."""
    chance = random.Random(4)
    primary, target = tmp_path / "primary", tmp_path / "replica"
    Database.create(primary, Files())
    last = write_numbers(primary, 400)
    assert bootledger("replicate", primary, target, "--node", NODE).returncode == 0
    current = processes.start(READS_CURRENT, target)
    old = processes.start(READS_ONE, target / "gen-0001")
    holds = processes.start(HOLDS_ONE, target)
    try:
        assert processes.wait_for_line(holds) == "gen-0001"
        assert processes.wait_for_line(old) == "400"
        seen = [processes.wait_for_line(current)]
        for moment in (is_event("applied"), in_phase("promoting")) * 2:
            was_current = read_current(target)
            write_numbers(primary, 300)
            with Life(primary, target) as life:
                life.wait_for(in_phase("restoring"))
                life.process.send_signal(signal.SIGSTOP)
                last = write_numbers(primary, 5000, forget=False)
                life.process.send_signal(signal.SIGCONT)
                life.wait_for(moment)
                time.sleep(chance.uniform(0, 0.01))
                life.kill()
            intent = unfinished(target)
            if intent and intent.progress.phase is not State.PROMOTING:
                assert read_current(target) == was_current, "promoted before it was recorded"
            assert bootledger("replicate", primary, target, "--node", NODE).returncode == 0
            while not seen[-1].endswith(f" {last}"):
                seen.append(processes.wait_for_line(current))
        assert [reader.poll() for reader in (current, old, holds)] == [None] * 3
    finally:
        for reader in (current, old, holds):
            reader.kill()
            errors = reader.communicate()[1]
            assert errors == ""
    places = [(name, int(number)) for name, number in map(str.split, seen)]
    assert places == sorted(places)
    assert [number for _, number in places] == sorted(number for _, number in places)
    assert sorted(path.name for path in target.glob("gen-*")) == ["gen-0001", "gen-0005"]
    assert bootledger("replicate", primary, target, "--node", NODE).returncode == 0
    assert [path.name for path in target.glob("gen-*")] == ["gen-0005"]
    assert places[-1] == ("gen-0005", 400 + 4 * 5300)
    assert_equal(primary, target)


# --- No room ------------------------------------------------------------------------------------

ON_A_DISK = """
import json, signal, sys, time
import lmdb
from bootledger.replica.intent_log import IntentLog

COMMAND = [sys.executable, "-m", "bootledger"]
primary = base.parent / "primary"

def replicate(target, *more):
    return subprocess.run(
        [*COMMAND, "replicate", primary, target, "--node", "replica-1", "--json", *more],
        capture_output=True, text=True,
    )

def fetched(text):
    lines = map(json.loads, text.splitlines())
    return {(line["start"], line["end"]) for line in lines if line["event"] == "fetched"}

def suspended(ledger):
    with IntentLog.open(ledger, create=False, sink=print) as log:
        (intent,) = log.list_unfinished()
    return intent.progress
"""


def test_without_room_for_the_candidate_it_waits_and_with_room_it_completes(tmp_path: Path) -> None:
    """A full disk at the candidate: said, recorded as capacity, nothing half written, resumable."""
    make_primary(tmp_path / "primary", records=3000, value_bytes=400)
    assert (tmp_path / "primary" / "data.mdb").stat().st_size > 4 * 2**20
    code = f"""{ON_A_DISK}
target = base / "replica"
done = replicate(target)
assert done.returncode == {ExitCode.TRY_AGAIN}, done
assert "OutOfSpace" in done.stderr and "gen-0001" in done.stderr, done.stderr
assert "free some space" in done.stderr, done.stderr
progress = suspended(target / "ledger")
assert progress.suspension.cause_class == "capacity", progress
assert progress.snapshot.staged == (), progress
assert (target / "CURRENT").read_text() == "none\\n"
left = sorted(path.name for path in (target / "gen-0001").iterdir())
assert left == ["intent", "manifest"]

again = replicate(target)
assert again.returncode == {ExitCode.TRY_AGAIN}, again
assert suspended(target / "ledger").epoch == 2

mount("-o", "remount,size=64m", base)
done = replicate(target)
assert done.returncode == 0, done
outcome = json.loads(done.stdout.splitlines()[-1])
assert (outcome["epochs"], outcome["generation"]) == (3, 1), outcome
subprocess.run(["cp", "-r", target, base.parent / "copy"], check=True)
print("done")
"""
    mount_namespace.run(code, tmp_path / "disk")
    assert_equal(tmp_path / "primary", tmp_path / "copy")


def test_a_ledger_without_room_in_the_midst_of_a_copy_still_says_why(
    tmp_path: Path, big_primary: Path
) -> None:
    """The ledger's disk fills up: suspended with its cause, and nothing staged is lost."""
    (tmp_path / "primary").symlink_to(big_primary)
    code = f"""{ON_A_DISK}
target, ledger = base.parent / "replica", base / "ledger"
child = subprocess.Popen(
    [*COMMAND, "replicate", primary, target, "--node", "replica-1", "--json", "--ledger", ledger],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
)
told = []
while not any('"staged"' in line for line in told):
    told.append(child.stdout.readline())
child.send_signal(signal.SIGSTOP)
# Whoever reads an old state of the ledger keeps its pages from being used again: it has to grow.
with lmdb.open(str(ledger), readonly=True, max_dbs=8) as reader, reader.begin():
    assert fill(base / "filler") > 0
    child.send_signal(signal.SIGCONT)
    told += child.stdout
    errors = child.stderr.read()
    assert child.wait() == {ExitCode.TRY_AGAIN}, errors
assert "OutOfSpace" in errors and str(ledger) in errors, errors
progress = suspended(ledger)
assert progress.suspension.cause_class == "capacity", progress
staged = progress.snapshot.staged_bytes
assert 0 < staged < progress.snapshot.size_bytes, progress

(base / "filler").unlink()
done = replicate(target, "--ledger", ledger)
assert done.returncode == 0, done
outcome = json.loads(done.stdout.splitlines()[-1])
assert (outcome["epochs"], outcome["generation"]) == (2, 1), outcome
# The chunk whose event found no room was on disk: not even that one was fetched again.
assert fetched("".join(told)).isdisjoint(fetched(done.stdout))
print("done")
"""
    mount_namespace.run(code, tmp_path / "disk")
    assert_equal(big_primary, tmp_path / "replica")


def test_a_target_that_cannot_be_written_is_worth_another_try(tmp_path: Path) -> None:
    """A read-only disk: said, with the path, whether the target is new, complete or behind."""
    make_primary(tmp_path / "primary", records=20, value_bytes=20)
    code = f"""{ON_A_DISK}
assert replicate(base / "replica").returncode == 0
mount("-o", "remount,ro", base)
for target in (base / "new", base / "replica"):
    done = replicate(target)
    assert done.returncode == {ExitCode.TRY_AGAIN}, done
    assert "ReadOnly" in done.stderr and str(target) in done.stderr, done.stderr
assert not (base / "new").exists()
mount("-o", "remount,rw", base)
done = replicate(base / "replica")
assert done.returncode == 0, done
assert json.loads(done.stdout.splitlines()[-1])["epochs"] == 1, done
print("done")
"""
    mount_namespace.run(code, tmp_path / "disk")


# --- Wrong and damaged places -------------------------------------------------------------------


def listing(path: Path) -> dict[str, bytes]:
    """Return every file below `path` with its content."""
    found = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in found}


@pytest.mark.parametrize("kind", ["a file", "a file of a target", "other files", "a database"])
def test_a_target_that_is_something_else_is_refused_and_stays_as_it_is(
    tmp_path: Path, kind: str
) -> None:
    """What is not ours is not touched, not even by a lock file."""
    make_primary(tmp_path / "primary", records=20, value_bytes=20)
    place = tmp_path / "place"
    place.mkdir()
    target = place / "target"
    match kind:
        case "a file":
            target.write_text("accounts")
        case "a file of a target":
            done = bootledger("replicate", tmp_path / "primary", target, "--node", NODE)
            assert done.returncode == 0, done.stderr
            target = target / "CURRENT"
        case "other files":
            target.mkdir()
            (target / "accounts").write_text("accounts")
        case _:
            make_primary(target, records=5)
    before = listing(place)
    done = bootledger("replicate", tmp_path / "primary", target, "--node", NODE)
    assert done.returncode == ExitCode.REFUSED, done.stderr
    assert target.name in done.stderr
    assert listing(place) == before
    assert published(tmp_path / "primary") == {}


NODE_TO_FIND = "the-node-whose-head-is-damaged"


@pytest.fixture(scope="module")
def interrupted(
    big_primary: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, UUID]:
    """Return a target that was killed in its copy, its ledger's data file, and the intent."""
    target = tmp_path_factory.mktemp("interrupted") / "replica"
    with Life(big_primary, target, node=NODE_TO_FIND) as life:
        life.wait_for(is_event("staged"))
        assert life.kill()
    with IntentLog.open(target / LEDGER_NAME, create=False, sink=quiet) as log:
        (intent,) = log.list_unfinished()
    return target, target / LEDGER_NAME / "data.mdb", intent.intent_id


def flips(data: bytes) -> list[int]:
    """Return where to damage a ledger: in and around every place that names the node."""
    found = [at for at in range(len(data)) if data.startswith(NODE_TO_FIND.encode(), at)]
    length = len(NODE_TO_FIND)
    return [at + offset for at in found for offset in (-20, -1, 0, length // 2, length + 6)]


def flipped(data: bytes, at: int) -> bytes:
    """Return `data` with one bit of the byte at `at` turned over."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def found_in(ledger: Path) -> UUID | str:
    """Return what a start finds to resume: an intent, or the name of the error."""
    try:
        with IntentLog.open(ledger, create=False, sink=quiet) as log:
            log.scan_and_report()
            decision = log.decide(NODE_TO_FIND)
    except Corrupted:
        return "corrupted"
    return decision.intent.intent_id if isinstance(decision, Resumable) else "nothing to resume"


def test_a_damaged_head_is_corruption_and_never_nothing_to_resume(
    interrupted: tuple[Path, Path, UUID], big_primary: Path, tmp_path: Path
) -> None:
    """A flipped bit near a node's name stops every command, or hits what nobody reads any more."""
    target, data_file, intent_id = interrupted
    data = data_file.read_bytes()
    ledger = tmp_path / "ledger"
    outcomes: dict[int, UUID | str] = {}
    for at in flips(data):
        shutil.rmtree(ledger, ignore_errors=True)
        ledger.mkdir()
        (ledger / "data.mdb").write_bytes(flipped(data, at))
        outcomes[at] = found_in(ledger)
    assert set(outcomes.values()) == {"corrupted", intent_id}

    damaged = next(at for at, outcome in outcomes.items() if outcome == "corrupted")
    data_file.write_bytes(flipped(data, damaged))
    try:
        for arguments in (
            ("replicate", big_primary, target, "--node", NODE_TO_FIND),
            ("dangling", target),
            ("status", target),
        ):
            done = bootledger(*arguments)
            assert done.returncode == ExitCode.CORRUPTED, (arguments, done.stdout)
            assert "CorruptRecord" in done.stderr
            if arguments[0] != "status":  # which saves what it has folded
                assert data_file.read_bytes() == flipped(data, damaged)
    finally:
        data_file.write_bytes(data)
    done = bootledger("replicate", big_primary, target, "--node", NODE_TO_FIND)
    assert done.returncode == 0, done.stderr
    assert_equal(big_primary, target)


# --- One ledger for many ------------------------------------------------------------------------


class Reported(msgspec.Struct):
    """An entry of `dangling --json`."""

    node_id: str
    liveness: str
    intent_id: str
    staged_bytes: int


class Status(msgspec.Struct):
    """An entry of `status --json`."""

    intent_id: str
    running: bool
    progress: Progress


def status_of(ledger: Path) -> dict[str, Status]:
    """Return what `status` says, by node."""
    text = bootledger("status", ledger, "--json").stdout
    entries = msgspec.json.decode(text, type=list[Status])
    return {entry.progress.begin.node_id: entry for entry in entries if entry.progress.begin}


def test_two_nodes_in_one_ledger_at_once_are_both_resumed(
    tmp_path: Path, big_primary: Path
) -> None:
    """Two replications share a ledger, both are killed: each is reported, resumed and completed."""
    nodes = ("north", "south")
    ledger = tmp_path / "ledger"
    lives: list[Life] = []
    with ExitStack() as stack:
        for node in nodes:
            life = Life(big_primary, tmp_path / node, "--ledger", ledger, node=node)
            lives.append(stack.enter_context(life))
            life.wait_for(is_event("staged"))
            life.freeze(ledger)
        assert {node: entry.running for node, entry in status_of(ledger).items()} == {
            "north": True,
            "south": True,
        }
        assert all(life.kill() for life in lives)
    dangling = bootledger("dangling", ledger, "--json")
    reports = msgspec.json.decode(dangling.stdout, type=list[Reported])
    assert dangling.returncode == ExitCode.FOUND
    assert sorted(it.node_id for it in reports) == sorted(nodes)
    assert {it.liveness for it in reports} == {"stopped, without a word"}
    assert all(it.staged_bytes > 0 for it in reports)
    ids = {it.node_id: it.intent_id for it in reports}
    assert {node: entry.intent_id for node, entry in status_of(ledger).items()} == ids

    again = [Life(big_primary, tmp_path / node, "--ledger", ledger, node=node) for node in nodes]
    with again[0], again[1]:
        assert [life.finish() for life in again] == [0, 0], [life.errors for life in again]
    for node, first, second in zip(nodes, lives, again, strict=True):
        assert second.lines[-1].intent_id == ids[node]
        assert set(first.staged).isdisjoint(second.fetched)
        assert_equal(big_primary, tmp_path / node)
    ended = status_of(ledger)
    assert {node: (str(e.progress.state), e.progress.epoch) for node, e in ended.items()} == {
        "north": ("completed", 2),
        "south": ("completed", 2),
    }
    assert bootledger("dangling", ledger).returncode == 0
