from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from replicas import (
    CHUNK_BYTES,
    NODE,
    Counts,
    assert_equal,
    make_primary,
    replicate,
    stop_in_the_copy,
    write_more,
)
from worlds import CrashingFiles, Scenario, every_pair, every_single

from bootledger.errors import (
    ClosedByOperator,
    CorruptChunk,
    DivergedHistory,
    ForeignTarget,
    InvalidValue,
    SimulatedCrash,
    SourceChanged,
    SourceUnavailable,
    Stopped,
    Undecided,
)
from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.observer import Observer
from bootledger.replica.operator import Operator
from bootledger.replica.readers import open_current
from bootledger.replica.reddb_import import import_log
from bootledger.replica.settings import Settings
from bootledger.replica.target import LEDGER_NAME, Target
from bootledger.statemachine import plan
from bootledger.statemachine.progress import Progress, State
from bootledger.statemachine.ranges import Range


def open_log(target: Path) -> IntentLog:
    """Open the ledger inside of a target."""
    return IntentLog.open(target / LEDGER_NAME)


# --- Whatever state the target is in ------------------------------------------------------------


def test_a_new_target_is_copied_and_caught_up(tmp_path: Path) -> None:
    """Nothing there: a base backup is copied, the log applied, CURRENT set."""
    make_primary(tmp_path / "primary")
    outcome = replicate(tmp_path / "primary", tmp_path / "replica")
    assert (outcome.copied, outcome.generation, outcome.epochs) == (True, 1, 1)
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_a_target_that_is_a_little_behind_follows_the_log(tmp_path: Path) -> None:
    """Complete and behind a little: nothing is copied."""
    make_primary(tmp_path / "primary")
    replicate(tmp_path / "primary", tmp_path / "replica")
    last_lsn = write_more(tmp_path / "primary", seed=1)
    counts = Counts()
    outcome = replicate(tmp_path / "primary", tmp_path / "replica", observer=counts)
    assert (outcome.copied, outcome.generation, outcome.applied_lsn) == (False, 1, last_lsn)
    assert counts.fetched == []
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_a_target_that_is_too_far_behind_is_copied_anew_beside_the_old_one(tmp_path: Path) -> None:
    """The log no longer holds what comes next: the next generation takes over."""
    make_primary(tmp_path / "primary")
    replicate(tmp_path / "primary", tmp_path / "replica")
    last_lsn = write_more(tmp_path / "primary", seed=1)
    with Database.open(tmp_path / "primary", Files(), name="primary") as primary:
        primary.prune(last_lsn)
    outcome = replicate(tmp_path / "primary", tmp_path / "replica")
    assert (outcome.copied, outcome.generation) == (True, 2)
    assert not (tmp_path / "replica" / "gen-0001").exists()
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_an_up_to_date_target_stays_as_it_is(tmp_path: Path) -> None:
    """Nothing to do is done quickly, and is recorded as a completed intent."""
    make_primary(tmp_path / "primary")
    replicate(tmp_path / "primary", tmp_path / "replica")
    counts = Counts()
    outcome = replicate(tmp_path / "primary", tmp_path / "replica", observer=counts)
    assert not outcome.copied
    assert [type(step) for step in counts.steps] == [plan.FindPosition, plan.CatchUp]


def test_without_its_ledger_a_database_in_service_is_followed_as_before(tmp_path: Path) -> None:
    """The ledger is not the data: losing it costs the history, not the replica."""
    make_primary(tmp_path / "primary")
    replicate(tmp_path / "primary", tmp_path / "replica")
    shutil.rmtree(tmp_path / "replica" / LEDGER_NAME)
    write_more(tmp_path / "primary", seed=1)
    outcome = replicate(tmp_path / "primary", tmp_path / "replica")
    assert (outcome.copied, outcome.generation) == (False, 1)
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def leave_the_log_window(primary: Path) -> None:
    """Write more, and forget what a replica would need to follow it."""
    last_lsn = write_more(primary, seed=1)
    with Database.open(primary, Files(), name="primary") as database:
        database.prune(last_lsn)


def refused_until_aborted(work: Path) -> None:
    """Assert that a start leaves what is in service alone, and goes on after the abort."""
    target = work / "replica"
    with open_current(target) as directory:
        before = (directory / "data.mdb").read_bytes()
        with pytest.raises(DivergedHistory, match="CURRENT names generation") as refused:
            replicate(work / "primary", target)
        assert (directory / "data.mdb").read_bytes() == before
    with open_log(target) as log:
        (intent,) = log.list_unfinished(NODE)
        assert f"bootledger abort LEDGER {intent.intent_id} " in refused.value.hint
        Operator(log, "ann").abort(intent.intent_id, reason="the ledger is older")
    replicate(work / "primary", target)
    assert_equal(work / "primary", target)


def test_with_an_older_ledger_what_is_in_service_is_not_written_to(tmp_path: Path) -> None:
    """The restored ledger goes on with the copy that was promoted since: it is refused."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary)
    stop_in_the_copy(primary, target)
    shutil.copytree(target / LEDGER_NAME, tmp_path / "older")
    replicate(primary, target)
    shutil.rmtree(target / LEDGER_NAME)
    shutil.copytree(tmp_path / "older", target / LEDGER_NAME)
    refused_until_aborted(tmp_path)


def test_with_an_imported_ledger_what_is_in_service_is_not_pinned(tmp_path: Path) -> None:
    """RedDB's intent knows no generation and would pin the first, which is in service."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary)
    replicate(primary, target)
    shutil.rmtree(target / LEDGER_NAME)
    leave_the_log_window(primary)
    import_reddb(target)
    refused_until_aborted(tmp_path)
    assert list((primary / "basebackups").glob("*.*/")) == []


@pytest.mark.parametrize("verify_staged", [False, True])
def test_an_imported_copy_with_a_token_of_another_source_begins_anew(
    tmp_path: Path, verify_staged: bool
) -> None:
    """What RedDB staged under its own token is not here: the same intent pins a base backup."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary)
    target.mkdir()
    with Database.open(primary, Files(), name="primary") as database:
        Target.open(
            target,
            Files(),
            source_database_id=database.identity().database_id,
            node_id=NODE,
        ).close()
    import_reddb(target, {"last_applied_lsn": 1, **CURSOR})
    outcome = replicate(primary, target, settings=Settings(verify_staged=verify_staged))
    assert (outcome.intent_id, outcome.generation) == (str(UUID(int=7)), 2)
    assert_equal(primary, target)


CURSOR = {"snapshot_cursor": "snapshot:replica-1:10:9000", "snapshot_offset": 10}


def import_reddb(target: Path, *checkpoints: dict[str, object]) -> None:
    """Import RedDB's log of an unfinished bootstrap of the node."""
    whole = {"actor": NODE, "id": str(UUID(int=7)), "op": "replica_bootstrap", "ts": 1}
    args = {"replica_id": NODE, "source_lsn": 1, "target_lsn_hint": 9}
    records = [{**whole, "phase": "running", "args": args}]
    records += [
        {**whole, "phase": f"checkpoint_{number}", "args": args, "progress": progress}
        for number, progress in enumerate(checkpoints, 1)
    ]
    text = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    with IntentLog.open(target / LEDGER_NAME) as log:
        assert not import_log(log.store, io.BytesIO(text), lambda _: None).needs_a_look


def test_the_base_backup_is_released_once_it_was_restored(tmp_path: Path) -> None:
    """No base backup is left behind at the primary."""
    make_primary(tmp_path / "primary")
    replicate(tmp_path / "primary", tmp_path / "replica")
    assert list((tmp_path / "primary" / "basebackups").glob("*/manifest")) == []


# --- Interrupted --------------------------------------------------------------------------------


class StopAfter:
    """Asks to stop once it was asked `count` times."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self) -> str | None:
        self.left -= 1
        return "stopped by SIGTERM" if self.left < 0 else None


def test_a_stop_suspends_with_its_cause_and_the_next_start_resumes(tmp_path: Path) -> None:
    """Asked to stop in the middle of the copy, it keeps what it has, and the reason."""
    make_primary(tmp_path / "primary")
    first = stop_in_the_copy(tmp_path / "primary", tmp_path / "replica", chunks=3)
    second = Counts()
    with open_log(tmp_path / "replica") as log:
        (intent,) = log.list_unfinished()
    assert intent.progress.state is State.SUSPENDED
    assert intent.progress.suspension is not None
    assert intent.progress.suspension.cause == "stopped by SIGTERM"
    assert intent.progress.suspension.cause_class == "shutdown"

    outcome = replicate(tmp_path / "primary", tmp_path / "replica", observer=second)
    assert outcome.intent_id == str(intent.intent_id)
    assert outcome.epochs == 2
    assert first.fetched
    assert set(first.fetched).isdisjoint(second.fetched)
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_a_corrupt_chunk_is_not_written_and_suspends(tmp_path: Path) -> None:
    """What the source sends is checked before it is written; nothing of it is claimed."""
    make_primary(tmp_path / "primary")
    stop_in_the_copy(tmp_path / "primary", tmp_path / "replica")
    (backup,) = (tmp_path / "primary" / "basebackups").glob("*/data.mdb")
    whole = backup.read_bytes()
    backup.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CorruptChunk, match="chunk"):
        replicate(tmp_path / "primary", tmp_path / "replica")
    with open_log(tmp_path / "replica") as log:
        (intent,) = log.list_unfinished()
    assert intent.progress.suspension is not None
    assert intent.progress.suspension.cause_class == "source"

    backup.write_bytes(whole)
    replicate(tmp_path / "primary", tmp_path / "replica")
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_staged_bytes_that_rotted_are_dropped_and_fetched_again_on_request(tmp_path: Path) -> None:
    """`verify_staged` finds a flipped bit, records the drop, and only that chunk comes again."""
    make_primary(tmp_path / "primary")
    stop_in_the_copy(tmp_path / "primary", tmp_path / "replica", chunks=3)
    candidate = tmp_path / "replica" / "gen-0001" / "data.mdb"
    with candidate.open("r+b") as file:
        file.seek(CHUNK_BYTES + 7)
        byte = file.read(1)
        file.seek(CHUNK_BYTES + 7)
        file.write(bytes([byte[0] ^ 1]))
    counts = Counts()
    settings = Settings(verify_staged=True, clock=lambda: 1)
    replicate(tmp_path / "primary", tmp_path / "replica", settings=settings, observer=counts)
    assert counts.fetched[0] == Range(CHUNK_BYTES, 2 * CHUNK_BYTES)
    assert Range(0, CHUNK_BYTES) not in counts.fetched
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_a_base_backup_that_the_source_lost_is_followed_by_the_next_generation(
    tmp_path: Path,
) -> None:
    """Without its base backup the copy starts over under the same intent, and says so."""
    make_primary(tmp_path / "primary")
    stop_in_the_copy(tmp_path / "primary", tmp_path / "replica")
    shutil.rmtree(tmp_path / "primary" / "basebackups")
    outcome = replicate(tmp_path / "primary", tmp_path / "replica")
    assert (outcome.generation, outcome.epochs) == (2, 2)
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def stopped_in_the_copy(work: Path, *, chunks: int = 3) -> None:
    """Make a primary and a replica that was stopped in the middle of its first copy."""
    make_primary(work / "primary")
    stop_in_the_copy(work / "primary", work / "replica", chunks=chunks)


class BeforeTheRestore(Observer):
    """Does something to the candidate when it is whole and about to be restored, once."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        if isinstance(step, plan.Restore):
            self.act()
            self.act = lambda: None


def test_a_byte_that_rots_before_the_restore_is_found_and_fetched_again(tmp_path: Path) -> None:
    """Nothing is restored before every byte of it was read and compared with the manifest."""
    make_primary(tmp_path / "primary")
    candidate = tmp_path / "replica" / "gen-0001" / "data.mdb"

    def rot() -> None:
        content = bytearray(candidate.read_bytes())
        content[CHUNK_BYTES + 7] ^= 1
        candidate.write_bytes(content)

    outcome = replicate(tmp_path / "primary", tmp_path / "replica", observer=BeforeTheRestore(rot))
    assert outcome.epochs == 2  # the drop is on the record
    assert_equal(tmp_path / "primary", tmp_path / "replica")


@pytest.mark.parametrize("kept_chunks", [None, 2])
def test_claimed_bytes_that_are_gone_are_fetched_again_and_never_taken_for_zeros(
    tmp_path: Path, kept_chunks: int | None
) -> None:
    """Somebody deleted or cut the candidate: what the log claims of it is not believed blindly."""
    stopped_in_the_copy(tmp_path, chunks=6)
    candidate = tmp_path / "replica" / "gen-0001" / "data.mdb"
    if kept_chunks is None:
        candidate.unlink()
    else:
        os.truncate(candidate, kept_chunks * CHUNK_BYTES)
    replicate(tmp_path / "primary", tmp_path / "replica")
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_a_snapshot_lost_before_the_restore_leads_to_the_next_generation(tmp_path: Path) -> None:
    """The manifest is gone here and at the source: nothing can be verified, so copy anew."""
    make_primary(tmp_path / "primary")

    def lose() -> None:
        shutil.rmtree(tmp_path / "primary" / "basebackups")
        (tmp_path / "replica" / "gen-0001" / "manifest").unlink()

    outcome = replicate(tmp_path / "primary", tmp_path / "replica", observer=BeforeTheRestore(lose))
    assert outcome.generation == 2
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_a_start_that_died_before_its_pin_was_recorded_leaves_no_base_backup_behind(
    tmp_path: Path,
) -> None:
    """Going on under the same intent finds the base backup that was published for it."""
    make_primary(tmp_path / "primary")
    for _ in range(3):
        with pytest.raises(SimulatedCrash):
            replicate(
                tmp_path / "primary",
                tmp_path / "replica",
                files=(files := CrashingFiles("log.writing#2")),
            )
        files.bury()
    outcome = replicate(tmp_path / "primary", tmp_path / "replica")
    assert outcome.epochs == 4
    assert list((tmp_path / "primary" / "basebackups").glob("*/manifest")) == []


def test_with_several_that_could_go_on_nothing_starts_and_no_candidate_is_removed(
    tmp_path: Path,
) -> None:
    """The single-resumer rule: a person decides, and loses nothing by deciding late."""
    stopped_in_the_copy(tmp_path)
    with open_log(tmp_path / "replica") as log:
        (first,) = log.list_unfinished()
        second = log.begin(NODE, 0, 9)
        second.checkpoint(5, 1)
        second.close()
    with pytest.raises(Undecided, match="a person must decide"):
        replicate(tmp_path / "primary", tmp_path / "replica")
    assert (tmp_path / "replica" / "gen-0001" / "data.mdb").exists()

    with open_log(tmp_path / "replica") as log:
        Operator(log, "ada").abort(second.intent_id, reason="begun by mistake")
    outcome = replicate(tmp_path / "primary", tmp_path / "replica")
    assert outcome.intent_id == str(first.intent_id)
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_a_source_on_a_newer_timeline_is_not_followed_but_copied(tmp_path: Path) -> None:
    """The same database after a failover is not a continuation that may be taken for granted."""
    make_primary(tmp_path / "primary")
    replicate(tmp_path / "primary", tmp_path / "replica")
    with Database.open(tmp_path / "primary", Files(), name="primary") as primary:
        database_id = primary.identity().database_id
    shutil.rmtree(tmp_path / "primary")
    Database.create(tmp_path / "primary", Files(), database_id=database_id, timeline=2)
    write_more(tmp_path / "primary", records=300)
    outcome = replicate(tmp_path / "primary", tmp_path / "replica")
    assert (outcome.copied, outcome.generation) == (True, 2)
    assert_equal(tmp_path / "primary", tmp_path / "replica")


def test_a_database_that_is_behind_its_log_is_refused(tmp_path: Path) -> None:
    """The log says more than the database holds: somebody rolled it back, so a person must look."""
    make_primary(tmp_path / "primary")
    replicate(tmp_path / "primary", tmp_path / "replica")
    current = tmp_path / "replica" / "gen-0001"
    shutil.copytree(current, tmp_path / "old", ignore=shutil.ignore_patterns("lock.mdb"))
    write_more(tmp_path / "primary", records=30, seed=1)
    settings = Settings(batch_changes=10, stop=StopAfter(4), clock=lambda: 1)
    with pytest.raises(Stopped):
        replicate(tmp_path / "primary", tmp_path / "replica", settings=settings)
    shutil.copy(tmp_path / "old" / "data.mdb", current / "data.mdb")
    with pytest.raises(DivergedHistory, match="the log recorded"):
        replicate(tmp_path / "primary", tmp_path / "replica")


# --- Wrong partners -----------------------------------------------------------------------------


def test_a_primary_that_is_gone_is_an_error_and_nothing_is_made(tmp_path: Path) -> None:
    """No source, no target directory."""
    with pytest.raises(SourceUnavailable, match="no primary"):
        replicate(tmp_path / "primary", tmp_path / "replica")
    assert not (tmp_path / "replica").exists()


def test_a_target_inside_of_its_primary_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    """What lies in a primary's directory is the primary's to remove."""
    make_primary(tmp_path / "primary")
    inside = tmp_path / "primary" / "replica"
    with pytest.raises(InvalidValue, match="lies inside of its source"):
        replicate(tmp_path / "primary", inside)
    assert not inside.exists()


def test_another_primary_than_the_one_begun_with_is_refused(tmp_path: Path) -> None:
    """A target belongs to one database for ever."""
    make_primary(tmp_path / "primary")
    make_primary(tmp_path / "other")
    replicate(tmp_path / "primary", tmp_path / "replica")
    before = sorted(path.name for path in (tmp_path / "replica").iterdir())
    with pytest.raises(ForeignTarget):
        replicate(tmp_path / "other", tmp_path / "replica")
    assert sorted(path.name for path in (tmp_path / "replica").iterdir()) == before


def test_an_intent_that_began_with_another_source_is_not_resumed(tmp_path: Path) -> None:
    """A shared ledger may outlive its target: the intent remembers its source."""
    make_primary(tmp_path / "primary")
    make_primary(tmp_path / "other")
    stop_in_the_copy(tmp_path / "primary", tmp_path / "replica")
    (tmp_path / "fresh").mkdir()
    shutil.move(tmp_path / "replica" / LEDGER_NAME, tmp_path / "fresh" / LEDGER_NAME)
    with pytest.raises(SourceChanged, match="began with source"):
        replicate(tmp_path / "other", tmp_path / "fresh")


def test_what_an_operator_holds_is_not_started(tmp_path: Path) -> None:
    """A held bootstrap waits for a person, with the person's words."""
    make_primary(tmp_path / "primary")
    stop_in_the_copy(tmp_path / "primary", tmp_path / "replica")
    with open_log(tmp_path / "replica") as log:
        (intent,) = log.list_unfinished()
        Operator(log, "ada").hold(intent.intent_id, reason="disk swap")
    with pytest.raises(ClosedByOperator, match="ada: disk swap"):
        replicate(tmp_path / "primary", tmp_path / "replica")


# --- Every crash --------------------------------------------------------------------------------


class WritesDuringTheCopy(Observer):
    """The application goes on: it writes to the primary once the base backup is pinned."""

    def __init__(self, primary: Path) -> None:
        self.primary = primary

    def on_step(self, step: plan.Step, progress: Progress) -> None:
        if isinstance(step, plan.Restore):
            write_more(self.primary, records=12, seed=3)


def one_life(files: CrashingFiles, place: Path) -> None:
    """One start of the replication in a world that may end at any point."""
    replicate(
        place / "primary",
        place / "replica",
        files=files,
        observer=WritesDuringTheCopy(place / "primary"),
        chunk_bytes=32 * 1024,
    )


def prepare(place: Path) -> None:
    """Make a primary whose base backup has two or three chunks."""
    make_primary(place / "primary", records=20, value_bytes=30)


def prepare_too_far_behind(place: Path) -> None:
    """Make a complete replica that the primary's log has left behind."""
    prepare(place)
    replicate(place / "primary", place / "replica")
    last_lsn = write_more(place / "primary", seed=1)
    with Database.open(place / "primary", Files(), name="primary") as primary:
        primary.prune(last_lsn)


def still_one_intent(place: Path) -> None:
    """Between two lives there is at most one unfinished intent, and its resume is decided."""
    if not (place / "replica" / LEDGER_NAME).exists():
        return
    with open_log(place / "replica") as log:
        assert len(log.list_unfinished(NODE)) <= 1


def writes_go_on(place: Path) -> None:
    """Check the ledger, and let the primary move on while nobody replicates."""
    still_one_intent(place)
    write_more(place / "primary", records=15, seed=2)


def ended_well(place: Path) -> None:
    """The replica equals the primary, nothing is unfinished, and one generation is left."""
    assert_equal(place / "primary", place / "replica")
    with open_log(place / "replica") as log:
        assert log.list_unfinished() == []
    assert len(list((place / "replica").glob("gen-*"))) == 1
    assert list((place / "primary" / "basebackups").glob("*/manifest")) == []


FIRST_COPY = Scenario(one_life, prepare=prepare, after_crash=still_one_intent, check=ended_well)


def test_a_crash_at_any_point_of_a_first_copy_is_survived() -> None:
    """Every single point, while writes go on: the next start ends as if nothing had happened."""
    every_single(replace(FIRST_COPY, after_crash=writes_go_on), at_least=60)


def test_a_crash_at_any_point_of_a_replacement_is_survived() -> None:
    """The same while an old generation is in service and is to be replaced."""
    every_single(replace(FIRST_COPY, prepare=prepare_too_far_behind), at_least=60)


REPLACEMENT = replace(FIRST_COPY, prepare=prepare_too_far_behind)
SAMPLE = (5, 32)
"""Of the first crashes, every 32nd from the sixth on, each with all the second ones."""


def test_a_sample_of_two_crashes_of_a_first_copy_is_survived() -> None:
    """A crash, and a crash of the start that follows; `make crash` does all pairs."""
    every_pair(FIRST_COPY, part=SAMPLE, at_least=15)


def test_a_sample_of_two_crashes_of_a_replacement_is_survived() -> None:
    """The same while an old generation is in service; `make crash` does all pairs."""
    every_pair(REPLACEMENT, part=SAMPLE, at_least=15)


@pytest.mark.crash
@pytest.mark.parametrize("part", range(4))
def test_a_crash_at_any_two_points_of_a_first_copy_is_survived(part: int) -> None:
    """Every pair: a crash, and a crash of the start that follows, at any point of both."""
    every_pair(FIRST_COPY, part=(part, 4), at_least=15)


@pytest.mark.crash
@pytest.mark.parametrize("part", range(4))
def test_a_crash_at_any_two_points_of_a_replacement_is_survived(part: int) -> None:
    """Every pair again, while an old generation is in service and is to be replaced."""
    every_pair(REPLACEMENT, part=(part, 4), at_least=15)
