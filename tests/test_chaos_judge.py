"""The judge of the chaos proof convicts whom it must, and nobody else."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from uuid import UUID

import pytest
from chaos_judge import Line, Told, check_fetched, check_only_owners_wrote, check_resumed

from bootledger.statemachine.events import (
    Abort,
    Begin,
    Complete,
    Event,
    Holder,
    Resume,
    SnapshotChunk,
)
from bootledger.store.port import Recorded


def _fetched(*starts: int, generation: int = 1) -> list[Line]:
    step: Line = {"event": "step", "phase": "copying", "generation": generation}
    return [step, *({"event": "fetched", "start": it, "end": it + 9} for it in starts)]


def _begin(pid: int) -> Begin:
    holder = Holder("host", pid, 1)
    return Begin(recorded_at_ms=1, node_id="n", source_lsn=0, target_lsn_hint=1, holder=holder)


def _resume(pid: int, epoch: int) -> Resume:
    return Resume(recorded_at_ms=2, epoch=epoch, holder=Holder("host", pid, 1))


def _chunk(start: int) -> SnapshotChunk:
    return SnapshotChunk(
        recorded_at_ms=2, token="t", generation=1, offset_bytes=start, length_bytes=9
    )


def _ledger(*events: Event, intent: int = 1) -> list[Recorded]:
    return [Recorded(n, UUID(int=intent), n, event) for n, event in enumerate(events, start=1)]


def test_who_fetches_more_again_than_was_in_flight_is_convicted() -> None:
    """One start more excuses as many chunks as were in flight; another generation excuses none."""
    claims = [_chunk(0), _chunk(9), _chunk(18)]
    twice = [Told(1, True, _fetched(0, 9)), Told(2, False, _fetched(0, 9, 18))]
    counts = check_fetched(_ledger(*claims), twice, 2, 9)
    assert counts["chunks fetched again"] == 2
    assert counts["chunks in flight when it was cut short"] == 2
    with pytest.raises(AssertionError, match="2 chunks were fetched again"):
        check_fetched(_ledger(*claims), twice, 1, 9)
    with pytest.raises(AssertionError, match="1 chunks were fetched again"):
        check_fetched(_ledger(_chunk(0)), [Told(1, False, _fetched(0, 0))], 2, 9)
    other = [Told(1, True, _fetched(0)), Told(2, True, _fetched(0, generation=2))]
    assert check_fetched([], other, 2, 9)["chunks fetched again at most"] == 0


def test_who_claims_what_never_came_or_loses_what_came_is_convicted() -> None:
    """What came is claimed, or was in flight; what is claimed as fetched came."""
    with pytest.raises(AssertionError, match="1 chunks were fetched, 18 bytes claimed"):
        check_fetched(_ledger(_chunk(0), _chunk(9)), [Told(1, False, _fetched(0))], 2, 9)
    with pytest.raises(AssertionError, match="3 chunks were fetched, 0 bytes claimed"):
        check_fetched([], [Told(1, True, _fetched(0, 9, 18))], 2, 9)


def _staged(*starts: int) -> list[Line]:
    return [{"event": "staged", "start": it, "end": it + 9} for it in starts]


@pytest.mark.parametrize(
    ("lives", "words"),
    [
        ([Told(1, True, _staged(0)), Told(2, False, _staged(18))], None),
        ([Told(1, True, _staged(0, 9)), Told(2, False, _staged(18))], None),
        ([Told(1, False, _staged(0)), Told(2, False, _staged(18))], "did not tell"),
        ([Told(1, True, _staged(0, 9, 18)), Told(2, False, [])], "did not own"),
        ([Told(1, True, []), Told(2, False, _staged(18))], "did not tell"),
        ([Told(1, True, _staged(0, 9))], "somebody else"),
    ],
)
def test_who_wrote_without_owning_is_convicted(lives: Sequence[Told], words: str | None) -> None:
    """Each claims while it owns, and tells of it; only one that was killed may owe its last."""
    events = _ledger(_begin(1), _chunk(0), _chunk(9), _resume(2, 2), _chunk(18))
    with pytest.raises(AssertionError, match=words) if words else contextlib.nullcontext():
        assert check_only_owners_wrote(events, lives) == 3


def test_who_begins_anew_instead_of_going_on_is_convicted() -> None:
    """With progress an intent ends by its completion alone, and nothing staged is lost."""
    done = Complete(recorded_at_ms=3, total_records=1, duration_ms=1)
    first = _ledger(_begin(1), _chunk(0), _resume(1, 2), done)
    assert check_resumed([*first, *_ledger(_begin(1), intent=2)])["resumed"] == 1
    with pytest.raises(AssertionError, match="could have gone on"):
        check_resumed([*first[:2], *_ledger(_begin(1), intent=2)])
    ended = Abort(recorded_at_ms=3, actor="x", reason="y", abort_kind="superseded")
    assert check_resumed(_ledger(_begin(1), ended)) == {"intents": 1}
    with pytest.raises(AssertionError, match="with its progress"):
        check_resumed(_ledger(_begin(1), _chunk(0), ended))
    dropped = Resume(
        recorded_at_ms=2, epoch=2, holder=Holder("h", 1, 1), dropped=(_chunk(0).staged,)
    )
    with pytest.raises(AssertionError, match="lost"):
        check_resumed(_ledger(_begin(1), _chunk(0), dropped))
