"""Garbage is what nothing owns: it goes, whole, and nothing else does, whenever it is cut short."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import processes
import pytest
from nursery import run as bootledger
from replicas import (
    CHUNK_BYTES,
    NODE,
    assert_equal,
    make_primary,
    quiet,
    replicate,
    stop_in_the_copy,
    write_more,
)
from worlds import CrashingFiles, DiesAt, Scenario, every_pair, every_single, fresh_place

from bootledger.artefacts import Artefact, Finding, Swept, bytes_on_disk, sweep
from bootledger.cli.errors import ExitCode
from bootledger.errors import InvalidValue, SimulatedCrash, SourceChanged, TargetBusy
from bootledger.files import Files, is_locked
from bootledger.local import collect_garbage
from bootledger.locks import remove_if_free
from bootledger.primary.backups import BaseBackups
from bootledger.replica.database import Database
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.operator import Operator
from bootledger.replica.readers import open_current
from bootledger.replica.target import LEDGER_NAME, Target


@pytest.fixture
def place() -> Iterator[Path]:
    """Give an empty directory, in memory if the machine can."""
    with fresh_place() as path:
        yield path


def open_ledger(place: Path) -> IntentLog:
    """Open the ledger of the replica."""
    return IntentLog.open(place / "replica" / LEDGER_NAME, create=False, sink=quiet)


def source_id(place: Path) -> str:
    """Return which database the primary is."""
    with Database.open(place / "primary", Files(), name="primary") as primary:
        return primary.identity().database_id


def make_replica(place: Path) -> None:
    """Make a primary and its complete replica."""
    make_primary(place / "primary", records=40, value_bytes=100)
    replicate(place / "primary", place / "replica")


def interrupt_the_copy(place: Path) -> None:
    """Leave the log window, and stop the copy that replaces the database after its first chunk."""
    last_lsn = write_more(place / "primary", records=500, value_bytes=100, seed=1)
    with Database.open(place / "primary", Files(), name="primary") as primary:
        primary.prune(last_lsn)
    stop_in_the_copy(place / "primary", place / "replica", chunks=1)


def abort_what_is_unfinished(place: Path) -> None:
    """End the node's unfinished intents on a person's word."""
    with open_ledger(place) as log:
        for intent in log.list_unfinished(NODE):
            Operator(log, "ada").abort(intent.intent_id, reason="not needed")


def litter(place: Path) -> None:
    """Leave behind everything that a death can, and things that are not ours."""
    target, ledger = place / "replica", place / "replica" / LEDGER_NAME
    for path in (
        target / ".CURRENT.tmp",
        target / ".identity.tmp",
        target / ".ledger.creating.lock",
    ):
        path.write_bytes(b"half")
    (target / "gen-0001" / ".manifest.tmp").write_bytes(b"half")
    (target / ".ledger.creating").mkdir()
    (target / ".ledger.creating" / "data.mdb").write_bytes(b"half")
    (ledger / "owners" / f"{uuid.UUID(int=7)}.lock").write_bytes(b"pid 4711")
    (place / "primary" / "basebackups" / f"{uuid.UUID(int=8)}.3").mkdir(parents=True)
    for path in (target / "notes.txt", target / "gen-1", ledger / "owners" / "readme.lock"):
        path.write_bytes(b"mine")


def collect(place: Path, *, files: Files | None = None, dry_run: bool = False) -> Swept:
    """Collect the garbage of the replica and its primary."""
    return collect_garbage(
        place / "replica", source=place / "primary", files=files, dry_run=dry_run
    )


def names(artefacts: list[Artefact]) -> list[tuple[str, str]]:
    """Return kind and name of each."""
    return [(artefact.kind, Path(artefact.path).name) for artefact in artefacts]


def listing(path: Path) -> dict[str, bytes | None]:
    """Return every name below `path` with its content, but for the words in lock files."""
    return {
        str(item.relative_to(path)): item.read_bytes() if item.is_file() else None
        for item in path.rglob("*")
        if not item.name.endswith((".lock", "lock.mdb"))
    }


LITTER = [
    ("temporary file", ".manifest.tmp"),
    ("temporary file", ".CURRENT.tmp"),
    ("temporary file", ".identity.tmp"),
    ("claim", f"{uuid.UUID(int=7)}.lock"),
    ("unfinished creation", ".ledger.creating"),
    ("half a base backup", f"{uuid.UUID(int=8)}.3"),
]
NOT_OURS = [
    ("something else", "gen-1"),
    ("something else", "notes.txt"),
    ("something else", "readme.lock"),
]


# --- What goes and what stays -------------------------------------------------------------------


def test_a_clean_replica_has_no_garbage(place: Path) -> None:
    """What is in service stays, with the reason, and nothing is removed."""
    make_replica(place)
    before = listing(place)
    swept = collect(place)
    assert swept.removed == []
    assert names(swept.left) == [("generation", "gen-0001")]
    assert swept.left[0].why == "it is in service"
    assert listing(place) == before


def test_everything_that_deaths_left_goes_and_what_is_not_ours_stays(place: Path) -> None:
    """Each leftover by its exact name; the look-alikes beside them are named and left alone."""
    make_replica(place)
    before = listing(place)
    litter(place)
    swept = collect(place)
    assert names(swept.removed) == LITTER
    assert names(swept.left) == [("generation", "gen-0001"), *NOT_OURS]
    mine = {"replica/notes.txt", "replica/gen-1"}
    assert listing(place).keys() - before.keys() == mine
    assert (place / "replica" / LEDGER_NAME / "owners" / "readme.lock").read_bytes() == b"mine"
    assert swept.freed_bytes == sum(artefact.size_bytes for artefact in swept.removed)
    assert all(
        (artefact.size_bytes > 0) == (artefact.kind != "half a base backup")
        for artefact in swept.removed
    )
    assert collect(place).removed == []


def test_an_unfinished_copy_stays_and_can_go_on(place: Path) -> None:
    """The candidate and the base backup of an intent that may go on are needed."""
    make_replica(place)
    interrupt_the_copy(place)
    with open_ledger(place) as log:
        (intent,) = log.list_unfinished(NODE)
    swept = collect(place)
    assert swept.removed == []
    assert [(artefact.kind, artefact.why) for artefact in swept.left] == [
        ("generation", "it is in service"),
        ("generation", f"intent {intent.intent_id} may go on with it"),
        ("base backup", "its intent is unfinished"),
    ]
    assert replicate(place / "primary", place / "replica").intent_id == str(intent.intent_id)
    assert_equal(place / "primary", place / "replica")


def test_an_aborted_copy_goes_with_its_base_backup(place: Path) -> None:
    """What was staged and published for an intent that was ended belongs to nobody."""
    make_replica(place)
    interrupt_the_copy(place)
    abort_what_is_unfinished(place)
    candidate = bytes_on_disk(place / "replica" / "gen-0002")
    swept = collect(place)
    assert [artefact.kind for artefact in swept.removed] == ["generation", "base backup"]
    assert swept.removed[0].size_bytes == candidate > CHUNK_BYTES
    assert list((place / "primary" / "basebackups").glob("*.*/")) == []
    assert not (place / "replica" / "gen-0002").exists()
    assert replicate(place / "primary", place / "replica").generation == 2


def test_what_an_abort_kept_stays_for_whoever_wants_to_look(place: Path) -> None:
    """The candidate of an abort that keeps its artefacts is no garbage; its base backup is."""
    make_replica(place)
    interrupt_the_copy(place)
    with open_ledger(place) as log:
        (intent,) = log.list_unfinished(NODE)
        Operator(log, "ada").abort(intent.intent_id, reason="odd", keep_artifacts=True)
    swept = collect(place)
    assert [artefact.kind for artefact in swept.removed] == ["base backup"]
    assert names(swept.left) == [("generation", "gen-0001"), ("generation", "gen-0002")]
    assert str(intent.intent_id) in swept.left[1].why
    assert "kept" in swept.left[1].why


def test_a_candidate_of_an_unknown_intent_stays(place: Path) -> None:
    """It may be another ledger's, like a base backup: with the wrong ledger nothing is lost."""
    make_replica(place)
    interrupt_the_copy(place)
    IntentLog.open(place / "another").close()
    swept = collect_garbage(place / "replica", source=place / "primary", ledger=place / "another")
    assert swept.removed == []
    unknown = "this ledger does not know its intent"
    assert [artefact.why for artefact in swept.left[:2]] == ["it is in service", unknown]
    assert swept.left[-1].why == unknown
    assert replicate(place / "primary", place / "replica").generation == 2


@pytest.mark.parametrize("generation", [1, 2])
def test_a_damaged_word_for_whom_it_was_made_stops_nothing(place: Path, generation: int) -> None:
    """Starts go on and the generation stays; gc names the file, and never what is in service."""
    make_replica(place)
    interrupt_the_copy(place)
    abort_what_is_unfinished(place)
    file = place / "replica" / f"gen-000{generation}" / "intent"
    file.write_bytes(b"rotten")
    swept = collect(place)
    damaged = [artefact for artefact in swept.left if str(file) in artefact.why]
    assert [Path(artefact.path) for artefact in damaged] == [file.parent][: generation - 1]
    assert file.exists()
    assert replicate(place / "primary", place / "replica").generation == generation + 1
    assert_equal(place / "primary", place / "replica")
    assert file.exists()


def test_what_a_reader_holds_goes_when_it_lets_go(place: Path) -> None:
    """A generation that was replaced stays for as long as somebody reads it."""
    make_replica(place)
    with open_current(place / "replica"):
        last_lsn = write_more(place / "primary", records=50, seed=1)
        with Database.open(place / "primary", Files(), name="primary") as primary:
            primary.prune(last_lsn)
        replicate(place / "primary", place / "replica")
        for dry_run in (True, False):
            swept = collect(place, dry_run=dry_run)
            assert [(artefact.kind, artefact.why) for artefact in swept.left] == [
                ("generation", "a reader holds it"),
                ("generation", "it is in service"),
            ]
    assert names(collect(place).removed) == [("generation", "gen-0001")]


def test_base_backups_of_others_stay(place: Path) -> None:
    """A token of an intent that this ledger does not know, or of none, is left and reported."""
    make_replica(place)
    stranger = str(uuid.UUID(int=9))
    with Database.open(place / "primary", Files(), name="primary") as primary:
        for intent_id in (stranger, "by-hand"):
            BaseBackups(primary, Files()).pin(intent_id, 1)
    swept = collect(place)
    assert swept.removed == []
    assert names(swept.left)[1:] == [
        ("base backup", f"{stranger}.1"),
        ("base backup", "by-hand.1"),
    ]
    assert {it.why for it in swept.left[1:]} == {"this ledger does not know its intent"}


def test_without_a_source_its_base_backups_are_not_looked_at(place: Path) -> None:
    """The primary is another machine's, perhaps: it is tidied only if it is named."""
    make_replica(place)
    interrupt_the_copy(place)
    abort_what_is_unfinished(place)
    assert [it.kind for it in collect_garbage(place / "replica").removed] == ["generation"]
    assert len(list((place / "primary" / "basebackups").glob("*/manifest"))) == 1


def test_a_dry_run_says_the_same_and_changes_nothing(place: Path) -> None:
    """What would be removed is what then is."""
    make_replica(place)
    interrupt_the_copy(place)
    abort_what_is_unfinished(place)
    litter(place)
    before = listing(place)
    planned = collect(place, dry_run=True)
    assert planned.dry_run
    assert listing(place) == before
    done = collect(place)
    assert (names(planned.removed), planned.freed_bytes) == (names(done.removed), done.freed_bytes)
    assert planned.left == done.left
    assert len(planned.removed) == len(LITTER) + 2


# --- Who may ------------------------------------------------------------------------------------


def test_a_target_that_is_owned_is_not_tidied(place: Path) -> None:
    """Its owner is at work on what may look like garbage."""
    make_replica(place)
    litter(place)
    before = listing(place)
    with (
        Target.open(place / "replica", Files(), source_database_id=source_id(place), node_id=NODE),
        pytest.raises(TargetBusy, match="owned by pid"),
    ):
        collect(place)
    assert listing(place) == before


def test_without_a_target_a_ledger_or_the_right_source_nothing_is_touched(place: Path) -> None:
    """Only the ledger knows what is needed, so without one nothing is garbage."""
    make_replica(place)
    make_primary(place / "another", records=3)
    litter(place)
    before = listing(place)
    with pytest.raises(InvalidValue, match="no target at"):
        collect_garbage(place / "primary")
    with pytest.raises(InvalidValue, match="no database at"):
        collect_garbage(place / "replica", ledger=place / "nowhere")
    with pytest.raises(SourceChanged, match="is a copy of"):
        collect_garbage(place / "replica", source=place / "another")
    assert listing(place) == before


def test_a_finding_that_was_taken_meanwhile_is_left(place: Path) -> None:
    """Between looking and removing somebody may have come: then it stays, and that is said."""
    finding = Finding(Artefact("claim", "here", 5, "nobody had it"), lambda: False)
    swept = sweep([finding])
    assert (swept.removed, swept.freed_bytes) == ([], 0)
    assert [artefact.why for artefact in swept.left] == ["somebody is using it"]


# --- Claims that are about to be taken ----------------------------------------------------------


def test_a_claim_that_is_held_is_never_removed(place: Path) -> None:
    """Neither a stranger's lock nor one that was removed and made again under the same name."""
    path = place / "claim.lock"
    lock = Files().lock(path).acquire()
    assert not remove_if_free(path, lambda _: None)
    assert path.exists()
    lock.release()
    assert remove_if_free(path, lambda _: None)
    assert remove_if_free(path, lambda _: None)
    assert not path.exists()


def test_while_a_claim_is_removed_nobody_is_misled(place: Path) -> None:
    """In the very moment it is seen as free, and whoever takes it has it to himself afterwards."""
    path = place / "claim.lock"
    Files().lock(path).acquire().release()
    takers = []

    def in_between(_: str) -> None:
        assert not is_locked(path)
        takers.append(processes.start(TAKES_IT, path))
        assert processes.wait_for_line(takers[0]) == "trying"

    assert remove_if_free(path, in_between)
    try:
        assert processes.wait_for_line(takers[0]) == "has it"
        assert is_locked(path)
        assert not remove_if_free(path, lambda _: None)
    finally:
        processes.kill(takers[0])


TAKES_IT = """
    import sys, time
    from pathlib import Path
    from bootledger.files import Files
    print("trying", flush=True)
    lock = Files().lock(Path(sys.argv[1])).acquire(wait_s=10)
    print("has it", flush=True)
    sys.stdin.read()
"""

CLAIMS_AND_COUNTS = """
    import os, sys, time
    from pathlib import Path
    from bootledger.files import Files, LockHeld
    path, count = Path(sys.argv[1], "claim.lock"), Path(sys.argv[1], "inside")
    taken = 0
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        try:
            lock = Files().lock(path).acquire(wait_s=0.2)
        except LockHeld:
            continue
        fd = os.open(count, os.O_CREAT | os.O_EXCL)  # raises if another one is inside
        os.close(fd)
        count.unlink()
        taken += 1
        lock.release(remove=taken % 2 == 0)
    print(taken)
"""

SWEEPS = """
    import sys, time
    from pathlib import Path
    from bootledger.locks import remove_if_free
    removed = 0
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        removed += remove_if_free(Path(sys.argv[1], "claim.lock"), lambda name: None)
    print(removed)
"""


def test_claims_are_exclusive_while_stale_ones_are_removed(place: Path) -> None:
    """Processes that claim, let go and claim again are never two inside, whatever is swept."""
    claimants = [processes.start(CLAIMS_AND_COUNTS, place) for _ in range(3)]
    sweeper = processes.start(SWEEPS, place)
    counts = []
    for child in (*claimants, sweeper):
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        counts.append(int(out))
    assert min(counts) > 10, counts


# --- Cut short ----------------------------------------------------------------------------------


def make_garbage(place: Path) -> None:
    """Make a replica with everything lying about that can."""
    make_replica(place)
    interrupt_the_copy(place)
    abort_what_is_unfinished(place)
    litter(place)


def one_collection(files: CrashingFiles, place: Path) -> None:
    """Collect the garbage in a world that may end at any point."""
    collect(place, files=files)


def still_in_service(place: Path) -> None:
    """Whatever is gone by now, the database in service and what is not ours are whole."""
    with open_current(place / "replica") as directory:
        assert directory.name == "gen-0001"
        with Database.open(directory, Files(), name="applier") as replica:
            assert replica.last_lsn() == 40
    assert (place / "replica" / "notes.txt").read_bytes() == b"mine"


def clean(place: Path) -> None:
    """Nothing is left to collect."""
    still_in_service(place)
    swept = collect(place)
    assert (swept.removed, names(swept.left)) == ([], [("generation", "gen-0001"), *NOT_OURS])
    assert sorted(path.name for path in (place / "replica").glob(".*")) == []


def clean_and_useful(place: Path) -> None:
    """Nothing is left to collect, and the next replication goes on as ever."""
    clean(place)
    replicate(place / "primary", place / "replica")
    assert_equal(place / "primary", place / "replica")


@pytest.fixture(scope="module")
def collection() -> Iterator[Scenario]:
    """Give the scenario of a collection; what it starts from is made once and copied."""
    with fresh_place() as made:
        make_garbage(made)

        def copy(place: Path) -> None:
            shutil.copytree(made, place, dirs_exist_ok=True)

        yield Scenario(one_collection, prepare=copy, after_crash=still_in_service, check=clean)


def test_a_collection_survives_a_crash_at_every_point(collection: Scenario) -> None:
    """Cut short anywhere, the next one does the rest."""
    deaths = every_single(replace(collection, check=clean_and_useful), at_least=12)
    assert {"generation.removing#1", "generation.removed#1", "lock.removing#1"} <= deaths


def test_a_collection_survives_two_crashes(collection: Scenario) -> None:
    """Every pair: cut short, and cut short again."""
    every_pair(collection, at_least=12)


def test_a_collector_that_takes_what_is_in_service_would_be_caught(
    collection: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks can fail: without the look at CURRENT the first collection is found out."""
    monkeypatch.setattr("bootledger.local.needed_generations", lambda *_: {})
    monkeypatch.setattr(Target, "current", lambda target: None)
    with pytest.raises(Exception, match="gen-0001"):
        every_single(collection, at_least=1)


def test_what_is_dead_removes_nothing(place: Path) -> None:
    """A collector that died at its first removal has left everything else where it was."""
    make_garbage(place)
    with pytest.raises(SimulatedCrash):
        collect(place, files=DiesAt("generation.removing"))
    assert (place / "replica" / "gen-0002" / "data.mdb").exists()
    assert (place / "replica" / ".CURRENT.tmp").exists()


# --- The command --------------------------------------------------------------------------------


def test_the_command_tells_people_and_scripts_the_same(place: Path) -> None:
    """What is removed, what stays and why, with bytes; and a busy target exits with 75."""
    make_garbage(place)
    command = ("gc", place / "replica", "--source", place / "primary")
    told = bootledger(*command, "--dry-run")
    assert "would remove" in told.stdout
    assert "it is in service" in told.stdout
    done = bootledger(*command, "--json")
    answer = json.loads(done.stdout)
    assert answer["freed_bytes"] == sum(found["size_bytes"] for found in answer["removed"]) > 0
    for found in (*answer["removed"], *answer["left"]):
        assert found["path"] in told.stdout
        assert found["why"] in told.stdout
    again = bootledger(*command, "--json")
    assert json.loads(again.stdout)["removed"] == []

    with Target.open(place / "replica", Files(), source_database_id=source_id(place), node_id=NODE):
        busy = bootledger(*command)
    assert busy.returncode == ExitCode.TRY_AGAIN
    assert "TargetBusy" in busy.stderr
