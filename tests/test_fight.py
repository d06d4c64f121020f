"""Processes that fight over one node and one target: one owner at a time, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import processes
import pytest
from counting import READS_CURRENT, write_numbers
from fighter import (
    Diary,
    Note,
    NotedFiles,
    acknowledged,
    event_digest,
    open_log,
    read_diary,
    replicate_once,
)
from replicas import NODE, assert_equal
from worlds import fresh_place

from bootledger.errors import Refused, Unavailable
from bootledger.files import Files
from bootledger.local import collect_garbage
from bootledger.replica.database import Database
from bootledger.replica.identity import OWNER_LOCK_NAME
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.operator import Operator
from bootledger.replica.target import LEDGER_NAME

TESTS = str(Path(__file__).parent)

FIGHTER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fighter import fight_life_after_life
fight_life_after_life(*map(Path, sys.argv[2:5]), int(sys.argv[5]))
"""
WRITER = """
import random, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from bootledger.files import Files
from bootledger.replica.database import Database
from counting import count_on
chance = random.Random(7)
with Database.open(Path(sys.argv[2]), Files(), name="primary") as primary:
    while True:
        count_on(primary, chance.randrange(1, 60), forget=chance.random() < 0.1)
        time.sleep(0.01)
"""

ENOUGH = 4
"""How often somebody must have completed a replication for a fight to be one."""
PATIENCE_S = 60.0
"""How much longer than asked for a fight may take to be one."""


# --- The judge ----------------------------------------------------------------------------------


class Hold(NamedTuple):
    """A time during which a process surely held a lock."""

    who: str
    since_ns: int
    until_ns: int
    found: str
    left: str | None
    """What it left in the target; None if it died."""


def holds(diaries: dict[str, list[Note]]) -> dict[str, list[Hold]]:
    """Return who held which lock when, in order: from the note after it to the note before its end.

    Whoever died held it at least until the last thing that he noted.
    """
    found: defaultdict[str, list[Hold]] = defaultdict(list)
    for who, notes in diaries.items():
        taken: dict[str, Note] = {}
        for note in notes:
            if note.what == "locked":
                taken[note.about] = note
            elif note.what == "unlocking":
                since = taken.pop(note.about)
                hold = Hold(who, since.at_ns, note.at_ns, since.digest, note.digest)
                found[note.about].append(hold)
        for path, since in taken.items():
            found[path].append(Hold(who, since.at_ns, notes[-1].at_ns, since.digest, None))
    return {path: sorted(each, key=lambda hold: hold.since_ns) for path, each in found.items()}


def judge(target: Path, diaries: dict[str, list[Note]]) -> None:
    """Check that no lock had two holders, and that only the owner of the target wrote to it."""
    held = holds(diaries)
    for path, each in held.items():
        for one, other in pairwise(each):
            assert one.until_ns < other.since_ns, f"two hold {path}: {one} and {other}"
    owners = held[str(target / OWNER_LOCK_NAME)]
    for one, other in pairwise(owners):
        assert one.left in (None, other.found), f"written between {one} and {other}"
    for who, notes in diaries.items():
        mine = [hold for hold in owners if hold.who == who]
        for note in notes:
            if note.what == "write" and _in_target(target, note.about):
                owned = any(hold.since_ns <= note.at_ns <= hold.until_ns for hold in mine)
                assert owned or _creates(target, note.about), f"{who} is no owner: {note}"


def _in_target(target: Path, about: str) -> bool:
    if about.startswith("applier."):
        return True
    path = Path(about)
    return path.is_relative_to(target) and LEDGER_NAME not in about.removeprefix(str(target))


def _creates(target: Path, about: str) -> bool:
    return about == str(target)  # its directory comes before its lock


def check_ledger(log: IntentLog, diaries: dict[str, list[Note]]) -> int:
    """Check that every acknowledged event is in the ledger at its place; return how many."""
    there = {
        acknowledged(it.position, str(it.intent_id), it.version): event_digest(it.event)
        for it in log.store.read(0, 10**6)
    }
    told = [note for notes in diaries.values() for note in notes if note.what == "acknowledged"]
    lost = [note for note in told if there.get(note.about) != note.digest]
    assert lost == []
    assert len({note.about for note in told}) == len(told), "acknowledged to two"
    return len(told)


# --- The fight ----------------------------------------------------------------------------------


class Fighter:
    """One who fights, life after life."""

    def __init__(self, arena: Arena) -> None:
        seed = arena.chance.randrange(10**6)
        self._corner = processes.start(
            FIGHTER, TESTS, arena.primary, arena.target, arena.diaries, seed
        )
        self.pid = int(processes.wait_for_line(self._corner))

    def kill(self) -> None:
        """Kill it; it has another life at once."""
        os.kill(self.pid, signal.SIGKILL)
        self.pid = int(processes.wait_for_line(self._corner))

    def freeze(self, seconds: float) -> None:
        """Stop it for a while, wherever it is."""
        os.kill(self.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> str:
        """Kill it for good, and return what it said on standard error."""
        self._corner.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self._corner.communicate(timeout=60)[1]


@dataclass
class Arena:
    """A primary, a target, and who fights for it. `done` counts what was done to whom."""

    place: Path
    chance: random.Random
    fighters: list[Fighter] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.primary, self.target = self.place / "primary", self.place / "replica"
        self.diaries = self.place / "diaries"
        self.diary = Diary(self.diaries)
        self.files = NotedFiles(self.diary)

    def strike(self) -> None:
        """Do something to somebody."""
        blows = {self.kill: 4, self.freeze: 4, self.interfere: 6, self.tidy: 2}
        (blow,) = self.chance.choices(list(blows), list(blows.values()))
        blow()
        self.done[blow.__name__] += 1

    def kill(self) -> None:
        """Kill somebody."""
        self.chance.choice(self.fighters).kill()

    def freeze(self) -> None:
        """Stop somebody for a while."""
        self.chance.choice(self.fighters).freeze(self.chance.uniform(0.01, 0.2))

    def interfere(self) -> None:
        """Be the operator: hold and release, adopt, abort, discard."""
        with (
            contextlib.suppress(Refused, Unavailable),
            open_log(self.target, self.files, self.diary, create=False) as log,
        ):
            unfinished = log.list_unfinished(NODE)
            if not unfinished:
                return
            intent_id = self.chance.choice(unfinished).intent_id
            operator = Operator(log, "ada")
            match self.chance.choice(("hold", "adopt", "abort", "keep", "discard")):
                case "hold":
                    operator.hold(intent_id, reason="wait")
                    time.sleep(self.chance.uniform(0, 0.1))
                    operator.release(intent_id)
                case "adopt":
                    operator.adopt(intent_id)
                case "discard":
                    operator.discard(intent_id, reason="no", files=self.files, wait_s=0.5)
                case verb:
                    operator.abort(intent_id, reason="no", keep_artifacts=verb == "keep")
            self.done["verbs"] += 1

    def tidy(self) -> None:
        """Be the housekeeper, who must wait for his turn as well."""
        with contextlib.suppress(Refused, Unavailable):
            collect_garbage(self.target, source=self.primary, files=self.files)
            self.done["tidied"] += 1

    def end(self) -> None:
        """Kill everybody; none of them may have had anything to say."""
        assert [fighter.end() for fighter in self.fighters] == [""] * len(self.fighters)

    def had_a_fight(self) -> bool:
        """Return whether enough has happened to judge: a busy machine takes longer."""
        notes = Counter(note.what for each in self.written().values() for note in each)
        return notes["completed"] >= ENOUGH and self.done["kill"] > 0

    def written(self) -> dict[str, list[Note]]:
        """Return all diaries that say anything."""
        found = {path.name: read_diary(path) for path in self.diaries.iterdir()}
        return {who: notes for who, notes in found.items() if notes}


@contextlib.contextmanager
def watched(arena: Arena) -> Iterator[list[str]]:
    """Let a reader look all the time; yield what it said, which is there after the block."""
    said: list[str] = []
    reader = processes.start(READS_CURRENT, arena.target)
    try:
        yield said
    finally:
        early = reader.poll()
        reader.kill()
        out, err = reader.communicate()
        said += out.splitlines()
    assert (early, err) == (None, "")


@contextlib.contextmanager
def written_to(primary: Path) -> Iterator[None]:
    """Let the application go on, all the time."""
    writer = processes.start(WRITER, TESTS, primary)
    try:
        yield
    finally:
        early = writer.poll()
        writer.kill()
        err = writer.communicate()[1]
    assert (early, err) == (None, "")


def let_them_fight(arena: Arena, count: int, seconds: float) -> list[str]:
    """Let so many processes fight for so long; return what a reader saw in the meantime."""
    Database.create(arena.primary, Files())
    write_numbers(arena.primary, 300)
    replicate_once(arena.primary, arena.target, arena.diary)
    with written_to(arena.primary), watched(arena) as seen:
        try:
            arena.fighters += (Fighter(arena) for _ in range(count))
            end = time.monotonic() + seconds
            latest = end + PATIENCE_S
            while time.monotonic() < (end if arena.had_a_fight() else latest):
                time.sleep(arena.chance.uniform(0, 0.2))
                arena.strike()
        finally:
            arena.end()
    return seen


def settle(arena: Arena) -> None:
    """Decide what the fight left undecided, and bring the target up to date."""
    with open_log(arena.target, arena.files, arena.diary, create=False) as log:
        for intent in log.list_unfinished(NODE):
            with contextlib.suppress(Refused):
                Operator(log, "ada").release(intent.intent_id)
        if intents := log.list_unfinished(NODE):
            with contextlib.suppress(Refused):
                Operator(log, "ada").adopt(intents[-1].intent_id)
    replicate_once(arena.primary, arena.target, arena.diary)


@pytest.fixture
def place() -> Iterator[Path]:
    """Give an empty directory, in memory if the machine can."""
    with fresh_place() as path:
        yield path


@pytest.mark.parametrize(("count", "seed"), [(2, 1), (3, 2)])
def test_of_several_that_fight_one_owns_and_nothing_is_lost(
    place: Path, count: int, seed: int, pytestconfig: pytest.Config
) -> None:
    """Killed, frozen and interfered with: one owner, no lost event, no foreign byte, no mixture."""
    arena = Arena(place, random.Random(seed))
    seen = let_them_fight(arena, count, pytestconfig.getoption("fight_s"))
    settle(arena)
    diaries = arena.written()
    judge(arena.target, diaries)
    with open_log(arena.target, arena.files, arena.diary, create=False) as log:
        assert log.list_unfinished() == []
        events = check_ledger(log, diaries)
    assert_equal(arena.primary, arena.target)
    places = [(name, int(number)) for name, number in map(str.split, seen)]
    assert places == sorted(places), "an older value after a newer one"
    ends = Counter(note.what for notes in diaries.values() for note in notes)
    owners = holds(diaries)[str(arena.target / OWNER_LOCK_NAME)]
    told = f"{dict(arena.done)} {len(owners)} holds, {events} events, {len(seen)} seen, {ends}"
    sys.stdout.write(f"{told}\n")  # for whoever asks with -s or -rP
    assert len({hold.who for hold in owners}) > 2, told
    assert min(events, ends["completed"], len(seen)) >= ENOUGH, told


# --- The judge can convict ----------------------------------------------------------------------

TARGET = Path("/target")
LOCK = str(TARGET / OWNER_LOCK_NAME)


def _owns(since: int, until: int, *, found: str = "x", left: str = "x") -> list[Note]:
    return [Note(since, "locked", LOCK, found), Note(until, "unlocking", LOCK, left)]


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (_owns(1, 5), _owns(4, 9), "two hold"),
        ([Note(1, "locked", LOCK), Note(6, "write", f"{TARGET}/x")], _owns(4, 9), "two hold"),
        ([*_owns(1, 3), Note(5, "write", "applier.committed")], _owns(4, 9), "no owner"),
        ([*_owns(1, 3), Note(3, "write", f"{TARGET}/gen-0001/data.mdb")], _owns(4, 9), None),
        (_owns(1, 3, left="y"), _owns(4, 9), "written between"),
        ([Note(1, "locked", LOCK, "x")], _owns(4, 9, found="y"), None),
    ],
)
def test_the_judge_convicts_whom_it_must(
    one: list[Note], other: list[Note], words: str | None
) -> None:
    """Two owners, a write of one who lost it, a byte that changed in between; and nobody else."""
    diaries = {"one": one, "other": other}
    with pytest.raises(AssertionError, match=words) if words else contextlib.nullcontext():
        judge(TARGET, diaries)


def test_the_judge_misses_no_lost_event(tmp_path: Path) -> None:
    """An event that was acknowledged and is not there, or is another one, is named."""
    diary = Diary(tmp_path / "diaries")
    with open_log(tmp_path, Files(), diary, create=True) as log:
        log.begin(NODE, 0, 9).suspend("later")
        log.begin("other", 0, 9).close()
        diaries = {path.name: read_diary(path) for path in (tmp_path / "diaries").iterdir()}
        assert check_ledger(log, diaries) == 3
        (notes,) = diaries.values()
        told = [note for note in notes if note.what == "acknowledged"]
        for lie in (Note(1, "acknowledged", "9 x 1"), Note(1, "acknowledged", told[0].about, "z")):
            with pytest.raises(AssertionError):
                check_ledger(log, {**diaries, "liar": [lie]})
        with pytest.raises(AssertionError, match="acknowledged to two"):
            check_ledger(log, {**diaries, "twin": [told[0]]})
