"""The seed's own tests, by their names. Every crash is a process that is killed."""

from __future__ import annotations

from pathlib import Path

from processes import run_and_die

from bootledger.basebackup.reddb_layout import (
    atomic_temp_path,
    rebootstrap_pending_path,
    rebootstrap_ready_marker_path,
)
from bootledger.basebackup.reddb_marker import (
    ReplicaRebootstrapReadyMarker,
    read_rebootstrap_ready_marker,
    write_rebootstrap_ready_marker,
)
from bootledger.files import Files
from bootledger.positions import FIRST_TIMELINE
from bootledger.replica.bootstrapper import ReplicaBootstrapper
from bootledger.replica.intent_log import IntentLog

_PRELUDE = """
import sys
from bootledger.replica.bootstrapper import ReplicaBootstrapper
from bootledger.replica.intent_log import IntentLog
log = IntentLog.open(sys.argv[1])
"""


def crash(path: Path, code: str) -> None:
    """Run `code` on the ledger at `path` in a process that is then killed."""
    run_and_die(_PRELUDE + code, path)


def test_rebootstrap_ready_marker_write_is_atomic_and_readable(tmp_path: Path) -> None:
    """A marker is read as it was written, and replaced even where a stale temporary file lies."""
    data_path = tmp_path / "main.rdb"
    pending_path = str(rebootstrap_pending_path(data_path))
    stale = atomic_temp_path(rebootstrap_ready_marker_path(data_path))

    marker = ReplicaRebootstrapReadyMarker(pending_path, 7, FIRST_TIMELINE)
    write_rebootstrap_ready_marker(data_path, marker, Files())
    ready = read_rebootstrap_ready_marker(data_path)
    assert ready.checkpoint_lsn == 7
    assert ready.pending_path == pending_path

    stale.write_bytes(b"stale tmp")
    marker = ReplicaRebootstrapReadyMarker(pending_path, 8, 3)
    write_rebootstrap_ready_marker(data_path, marker, Files())
    ready = read_rebootstrap_ready_marker(data_path)
    assert ready.checkpoint_lsn == 8
    assert ready.timeline == 3
    assert not stale.exists()


def test_bootstrap_from_scratch_when_no_unfinished_intent(tmp_path: Path) -> None:
    """Without an unfinished intent there is nothing to resume, before as after a success."""
    bootstrapper = ReplicaBootstrapper("replica-1")
    with IntentLog.open(tmp_path / "ledger") as log:
        assert bootstrapper.scan_for_resume(log) is None
        bootstrapper.begin(log, 0, 1000).complete(500, 100)

    with IntentLog.open(tmp_path / "ledger") as log:
        assert bootstrapper.scan_for_resume(log) is None


def test_resume_from_checkpoint_after_crash(tmp_path: Path) -> None:
    """After a crash in the catch-up the resume point is the last checkpoint."""
    crash(
        tmp_path / "ledger",
        "ReplicaBootstrapper('replica-A').begin(log, 0, 1000).checkpoint(500, 10)",
    )
    bootstrapper = ReplicaBootstrapper("replica-A")
    with IntentLog.open(tmp_path / "ledger") as log:
        resume = bootstrapper.scan_for_resume(log)
        assert resume is not None
        assert resume.last_applied_lsn == 500

        handle = bootstrapper.begin(log, 500, 1000)
        handle.checkpoint(1000, 20)
        handle.complete(1000, 250)

        # Mended: the first intent does not dangle for ever, its stale LSN never returns.
        assert bootstrapper.scan_for_resume(log) is None
        assert log.list_unfinished() == []


def test_multi_replica_isolation(tmp_path: Path) -> None:
    """Each node sees only its own intent."""
    for node, hint, lsn in (("replica-1", 1000, 300), ("replica-2", 2000, 700)):
        crash(
            tmp_path / "ledger",
            f"ReplicaBootstrapper('{node}').begin(log, 0, {hint}).checkpoint({lsn}, 5)",
        )
    with IntentLog.open(tmp_path / "ledger") as log:
        points = [ReplicaBootstrapper(f"replica-{n}").scan_for_resume(log) for n in (1, 2, 3)]

    assert [point.last_applied_lsn if point else None for point in points] == [300, 700, None]


def test_resume_from_snapshot_transfer_checkpoint_after_crash(tmp_path: Path) -> None:
    """After a crash in the copy the resume point has LSN, token and offset."""
    crash(
        tmp_path / "ledger",
        "ReplicaBootstrapper('replica-snapshot').begin(log, 10, 1000)"
        ".checkpoint_snapshot_transfer('snapshot-token-10', 4096, 10, 0)",
    )
    with IntentLog.open(tmp_path / "ledger") as log:
        resume = ReplicaBootstrapper("replica-snapshot").scan_for_resume(log)

    assert resume is not None
    assert resume.last_applied_lsn == 10
    assert resume.snapshot_token == "snapshot-token-10"
    assert resume.snapshot_offset == 4096


def test_resume_snapshot_transfer_completes_original_intent(tmp_path: Path) -> None:
    """A resumed handle appends to the original intent, and completing it leaves nothing open."""
    crash(
        tmp_path / "ledger",
        "ReplicaBootstrapper('replica-snapshot-complete').begin(log, 10, 1000)"
        ".checkpoint_snapshot_transfer('snapshot-token-10', 4096, 10, 1)",
    )
    with IntentLog.open(tmp_path / "ledger") as log:
        (dangling,) = log.list_unfinished()
        resumed = ReplicaBootstrapper("replica-snapshot-complete").resume(log)
        assert resumed is not None
        resume, handle = resumed
        assert resume.last_applied_lsn == 10
        assert resume.snapshot_token == "snapshot-token-10"
        assert resume.snapshot_offset == 4096
        assert handle.intent_id == dangling.intent_id

        handle.checkpoint_snapshot_transfer("snapshot-token-10", 8192, 10, 2)
        handle.complete(2, 25)

    with IntentLog.open(tmp_path / "ledger") as log:
        assert log.list_unfinished() == []


def test_drop_without_complete_writes_aborted(tmp_path: Path) -> None:
    """Leaving the block without completing aborts, and an aborted intent is not unfinished."""
    with (
        IntentLog.open(tmp_path / "ledger") as log,
        ReplicaBootstrapper("replica-X").begin(log, 0, 1000) as handle,
    ):
        handle.checkpoint(100, 2)

    with IntentLog.open(tmp_path / "ledger") as log:
        assert log.list_unfinished() == []


def test_bootstrap_success_completes_intent(tmp_path: Path) -> None:
    """A completed intent is not unfinished."""
    with IntentLog.open(tmp_path / "ledger") as log:
        handle = ReplicaBootstrapper("replica-Y").begin(log, 0, 500)
        handle.checkpoint(250, 5)
        handle.checkpoint(500, 10)
        handle.complete(1000, 300)

    with IntentLog.open(tmp_path / "ledger") as log:
        assert log.list_unfinished() == []


def test_no_resume_when_no_checkpoint_progress(tmp_path: Path) -> None:
    """A crash before any progress leaves no resume point, and does not block the next begin."""
    for _ in range(2):
        crash(tmp_path / "ledger", "ReplicaBootstrapper('replica-Z').begin(log, 0, 1000)")
    bootstrapper = ReplicaBootstrapper("replica-Z")
    with IntentLog.open(tmp_path / "ledger") as log:
        assert bootstrapper.scan_for_resume(log) is None
        # Mended: the second begin superseded the first, so crashes do not pile up.
        assert len(log.list_unfinished()) == 1
