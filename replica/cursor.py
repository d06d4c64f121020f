"""The seed's cursor as an event: a token and an offset, up to which the snapshot is staged."""

from __future__ import annotations

from bootledger.errors import Refused
from bootledger.positions import check_u64
from bootledger.statemachine.events import SnapshotChunk
from bootledger.statemachine.progress import Progress, State


def staged_up_to(
    progress: Progress,
    snapshot_token: str,
    snapshot_offset: int | None,
    *,
    recorded_at_ms: int,
    applied_lsn: int | None,
    batches: int | None,
) -> SnapshotChunk:
    """Return the chunk from the first gap of the snapshot to `snapshot_offset`.

    An equal offset, and None, is no new bytes. Another token, or the same one after a checkpoint,
    opens the next generation. Raises `Refused` for an offset below what is staged already.
    """
    snapshot = progress.snapshot
    goes_on = (
        snapshot is not None
        and snapshot.token == snapshot_token
        and progress.state is State.TRANSFERRING
    )
    start = snapshot.offset_bytes if snapshot is not None and goes_on else 0
    end = start if snapshot_offset is None else check_u64(snapshot_offset, "snapshot_offset")
    if end < start:
        raise Refused(f"offset {end} is below {start}, which is staged already")
    return SnapshotChunk(
        recorded_at_ms=recorded_at_ms,
        token=snapshot_token,
        generation=progress.generation + (0 if goes_on else 1),
        offset_bytes=start,
        length_bytes=end - start,
        applied_lsn=applied_lsn,
        batches=batches,
    )
