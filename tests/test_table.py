"""The table: every state with every event, every guard by its name, and no trap anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_follower import finish
from sample_events import (
    BEGUN,
    FOLLOWING,
    HALF,
    PINNED,
    PROMOTING,
    RESTORED,
    SITUATIONS,
    VOUCHED,
    VOUCHED_COPY,
    WHOLE,
    abort,
    begin,
    checkpoint,
    chunk,
    complete,
    hold,
    pin,
    promote,
    resume,
    suspend,
)
from strategies import any_events, attempts, histories

from bootledger.errors import GuardRefused, IllegalEvent, Refused
from bootledger.positions import U64_MAX
from bootledger.statemachine.events import EVENT_TYPES, Event, kind_of
from bootledger.statemachine.fold import EMPTY, advance, fold
from bootledger.statemachine.live import LiveIntent
from bootledger.statemachine.progress import FINAL, PHASES, Progress, State
from bootledger.statemachine.ranges import MAX_ISLANDS, Range, Ranges
from bootledger.statemachine.table import TABLE, check, legal_kinds, row_for

VARIANTS: tuple[Event, ...] = (
    begin(),
    begin(last_generation=U64_MAX),
    pin(),
    pin(2, snapshot_lsn=150),
    pin(2, snapshot_lsn=50),
    pin(3),
    chunk(0, 10),
    chunk(40, 20),
    chunk(80, 20),
    chunk(80, 30),
    chunk(10, 10),
    chunk(50, 5, reused=(Range(55, 60), Range(80, 100))),
    chunk(40, 20, token="another"),
    chunk(0, 10, size_bytes=200),
    chunk(0, 0, applied_lsn=50),
    chunk(0, 10, generation=2),
    checkpoint(),
    checkpoint(99),
    checkpoint(5, timeline=2),
    checkpoint(U64_MAX),
    promote(),
    promote(2),
    promote(1, 101),
    suspend(),
    suspend("diverged"),
    suspend("operator"),
    hold(),
    resume(),
    resume(3),
    resume(1),
    resume(actor="ada"),
    resume(3, actor="ada"),
    resume(dropped=(Range(0, 10),)),
    resume(3, actor="ada", dropped=(Range(0, 10), Range(60, 80))),
    resume(dropped=(Range(0, 50),)),
    complete(),
    abort(),
    abort(kind="superseded"),
    abort(rolled_back=True),
)

LEGAL = {
    State.ABSENT: {"begin"},
    State.BEGUN: {"snapshot_chunk", "checkpoint", "suspend", "resume", "complete", "abort"},
    State.TRANSFERRING: {"snapshot_chunk", "checkpoint", "suspend", "resume", "complete", "abort"},
    State.CATCHING_UP: {
        "snapshot_chunk",
        "checkpoint",
        "promote",
        "suspend",
        "resume",
        "complete",
        "abort",
    },
    State.PROMOTING: {"suspend", "resume", "complete", "abort"},
    State.SUSPENDED: {"suspend", "resume", "abort"},
    State.COMPLETED: set(),
    State.ABORTED: set(),
}
"""The design's table once more, written by hand, so that a slip in one of the two shows."""


def judge(progress: Progress, event: Event) -> Progress | Refused:
    """Return what is true after `event`, or the refusal."""
    try:
        return advance(progress, event)
    except Refused as refusal:
        return refusal


# --- Every state with every event ---------------------------------------------------------------


def test_the_situations_cover_every_state_and_the_variants_every_kind() -> None:
    """The product of situations and variants leaves no pair of state and event out."""
    assert {fold(history).state for history in SITUATIONS.values()} == set(State)
    assert {type(event) for event in VARIANTS} == set(EVENT_TYPES)


@pytest.mark.parametrize("state", State)
def test_the_table_allows_what_the_design_says(state: State) -> None:
    """From each state exactly the designed events are possible."""
    assert set(legal_kinds(state)) == LEGAL[state]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_live_fold_and_table_agree(situation: str) -> None:
    """For every event, the live machine moves where the fold and the table say, or not at all."""
    history = SITUATIONS[situation]
    before = fold(history)
    for event in VARIANTS:
        live = LiveIntent(before)
        verdict = judge(before, event)
        if isinstance(verdict, Refused):
            with pytest.raises(type(verdict)) as by_live:
                live.move(event)
            assert str(by_live.value) == str(verdict)
            assert live.progress is before
            assert live.state == before.state
        else:
            live.move(event)
            assert live.progress == verdict == fold([*history, event])
            assert live.state == verdict.state == check(before, event).target
        live.close()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_refusal_changes_nothing_and_says_why(situation: str) -> None:
    """A refused event leaves the value as it was, and the refusal has words for an operator."""
    before = fold(SITUATIONS[situation])
    for event in VARIANTS:
        verdict = judge(before, event)
        assert before == fold(SITUATIONS[situation])
        match verdict:
            case IllegalEvent():
                assert kind_of(event) not in legal_kinds(before.state)
                assert str(verdict) == f"{kind_of(event)} cannot happen in state {before.state}"
                assert verdict.hint
            case GuardRefused():
                assert str(verdict).startswith(f"{kind_of(event)} refused: ")
            case Refused():
                pytest.fail(f"neither illegal nor refused by a guard: {verdict!r}")


@given(histories(), any_events())
def test_at_most_one_row_is_about_an_event(history: tuple[Event, ...], event: Event) -> None:
    """`when` tells rows apart: no situation and event meet two of them."""
    progress = fold(history)
    assert sum(row.applies(progress, event) for row in TABLE) <= 1


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.kind}-{row.target}")
def test_every_row_is_used(row: object) -> None:
    """Each row is taken by some variant in some situation, from each of its sources."""
    taken = {
        fold(history).state
        for history in SITUATIONS.values()
        for event in VARIANTS
        if row_for(fold(history), event) is row
        and not isinstance(judge(fold(history), event), Refused)
    }
    assert taken == set(row.sources)


# --- Every guard --------------------------------------------------------------------------------


def islands(count: int, *, first_byte: int = 2) -> Ranges:
    """That many single bytes, two apart."""
    return tuple(Range(first_byte + 2 * n, first_byte + 2 * n + 1) for n in range(count))


SCATTERED = (*BEGUN, chunk(reused=islands(MAX_ISLANDS)))
SECOND = (*RESTORED, pin(2, snapshot_lsn=150))

GUARDS: dict[str, list[tuple[tuple[Event, ...], Event, Event, str]]] = {
    "generations_used_up": [
        ((), begin(last_generation=U64_MAX), begin(last_generation=U64_MAX - 1), "last generation"),
    ],
    "generation_skipped": [
        (BEGUN, pin(2), pin(1), "must be generation 1, not 2"),
        (RESTORED, pin(1), pin(2), "must be generation 2, not 1"),
        (HALF, pin(3), pin(2), "must be generation 2, not 3"),
        ((begin(last_generation=7),), pin(7), pin(8), "must be generation 8, not 7"),
    ],
    "generation_changed": [
        (HALF, chunk(40, 1, token="other"), chunk(40, 1), "pinned as 'snapshot-1', not as 'other'"),
        (SECOND, chunk(0, 1), chunk(0, 1, generation=2), "generation 1 is over, 2 is being copied"),
    ],
    "told_twice": [
        (HALF, chunk(40, 1, size_bytes=101), chunk(40, 1, size_bytes=100), "size was told as 100"),
        (HALF, chunk(snapshot_lsn=101), chunk(snapshot_lsn=100), "LSN was told as 100"),
        (
            HALF,
            chunk(manifest_digest="cd"),
            chunk(manifest_digest="ab" * 32),
            "manifest digest was told as",
        ),
        (
            (*BEGUN, chunk(size_bytes=0, snapshot_lsn=0)),
            chunk(size_bytes=1),
            chunk(size_bytes=0, snapshot_lsn=0),
            "size was told as 0",
        ),
    ],
    "snapshot_too_old": [
        (FOLLOWING, pin(snapshot_lsn=99), pin(snapshot_lsn=100), "LSN 99, below the applied LSN"),
        (
            (*BEGUN, chunk(applied_lsn=50)),
            chunk(snapshot_lsn=49),
            chunk(snapshot_lsn=50),
            "LSN 49, below the applied LSN 50",
        ),
        (HALF, chunk(applied_lsn=101), chunk(applied_lsn=100), "LSN 100, below the applied"),
        (
            BEGUN,
            chunk(snapshot_lsn=9, applied_lsn=10),
            chunk(snapshot_lsn=10, applied_lsn=10),
            "LSN 9, below the applied LSN 10",
        ),
    ],
    "outside_of_size": [
        (HALF, chunk(80, 21), chunk(80, 20), "byte 101 lies beyond the snapshot's size of 100"),
        (HALF, chunk(101, 0), chunk(100, 0), "byte 101"),
        (
            HALF,
            chunk(reused=(Range(80, 101),)),
            chunk(reused=(Range(80, 100),)),
            "byte 101",
        ),
        (VOUCHED_COPY, chunk(40, 0, size_bytes=39), chunk(40, 0, size_bytes=40), "byte 40"),
    ],
    "staged_already": [
        (HALF, chunk(39, 2), chunk(40, 2), "bytes 39 to 41 are staged already"),
        (HALF, chunk(59, 2), chunk(59, 1), "bytes 59 to 61 are staged already"),
        (
            HALF,
            chunk(40, 10, reused=(Range(49, 52),)),
            chunk(40, 10, reused=(Range(50, 52),)),
            "bytes 49 to 52 are staged already",
        ),
    ],
    "too_scattered": [
        (BEGUN, chunk(reused=islands(65)), chunk(reused=islands(64)), "65 separate ranges"),
        (SCATTERED, chunk(1000, 1), chunk(0, 1), "go on at the first gap"),
    ],
    "chunk_goes_back": [
        (
            (*BEGUN, chunk(applied_lsn=50)),
            chunk(applied_lsn=49),
            chunk(applied_lsn=50),
            "LSN 49 is below the applied LSN 50",
        ),
    ],
    "position_goes_back": [
        (FOLLOWING, checkpoint(99), checkpoint(100), "position 1/99 is before 1/100"),
        (
            (*BEGUN, checkpoint(5, timeline=2)),
            checkpoint(100, timeline=1),
            checkpoint(5, timeline=2),
            "position 1/100 is before 2/5",
        ),
        (
            (begin(timeline=2),),
            checkpoint(timeline=1),
            checkpoint(timeline=2),
            "timeline 1 is before 2",
        ),
        ((*VOUCHED_COPY, chunk(applied_lsn=50)), checkpoint(49), checkpoint(50), "position 1/49"),
    ],
    "snapshot_not_whole": [
        (HALF, checkpoint(), chunk(40, 20), "40 of 100 bytes of the snapshot are not staged"),
        ((*PINNED, chunk(0, 99)), checkpoint(), chunk(99, 1), "1 of 100 bytes"),
    ],
    "below_snapshot": [
        (WHOLE, checkpoint(99), checkpoint(100), "LSN 99 is below the snapshot's own LSN 100"),
    ],
    "not_the_restored_one": [
        (FOLLOWING, promote(), complete(), "no candidate to promote"),
        (RESTORED, promote(2), promote(1), "generation 2 cannot be promoted"),
        (RESTORED, promote(1, 101), promote(1, 100), "LSN 100 is applied, not 101"),
    ],
    "hold_without_actor": [
        (HALF, suspend("operator"), hold(), "name of the operator"),
        ((*HALF, suspend()), suspend("operator"), hold(), "name of the operator"),
    ],
    "suspended_already": [
        ((*HALF, suspend()), suspend("shutdown"), hold(), "suspended already"),
        ((*HALF, hold()), suspend("network", actor="bob"), hold(), "suspended already"),
    ],
    "epoch_not_next": [
        (HALF, resume(1), resume(2), "the next epoch is 2, not 1"),
        (HALF, resume(3), resume(2), "the next epoch is 2, not 3"),
        ((*HALF, suspend(), resume(2)), resume(2), resume(3), "the next epoch is 3, not 2"),
    ],
    "held_by_operator": [
        ((*HALF, hold()), resume(), resume(actor="bob"), r"held by ada \(why not\)"),
        ((*PROMOTING, hold()), resume(), resume(actor="bob"), r"held by ada"),
    ],
    "dropped_not_staged": [
        (
            HALF,
            resume(dropped=(Range(30, 41),)),
            resume(dropped=(Range(30, 40),)),
            "bytes 30 to 41 are not staged",
        ),
        (RESTORED, resume(dropped=(Range(0, 1),)), resume(), "in phase catching_up"),
        (BEGUN, resume(dropped=(Range(0, 1),)), resume(), "in phase begun"),
        (PROMOTING, resume(dropped=(Range(0, 1),)), resume(), "in phase promoting"),
    ],
    "drop_scatters": [
        (
            (*BEGUN, chunk(0, 1000)),
            resume(dropped=islands(MAX_ISLANDS + 1)),
            resume(dropped=islands(MAX_ISLANDS)),
            "65 separate ranges.*drop more",
        ),
    ],
    "size_was_told": [
        ((*VOUCHED_COPY, chunk(40, 0, size_bytes=40)), complete(), checkpoint(), "checkpoint must"),
        ((*VOUCHED_COPY, chunk(40, 0, snapshot_lsn=9)), complete(), checkpoint(), "not restored"),
        (WHOLE, complete(), checkpoint(), "checkpoint must come first"),
    ],
    "candidate_not_promoted": [
        (RESTORED, complete(), promote(), "generation 1 was restored and must be promoted"),
    ],
    "swap_not_undone": [
        (PROMOTING, abort(), abort(rolled_back=True), "being promoted"),
        ((*PROMOTING, suspend()), abort(), abort(rolled_back=True), "being promoted"),
        ((*PROMOTING, hold()), abort(kind="left"), abort(rolled_back=True), "being promoted"),
    ],
}
"""By guard: a history, an event that it refuses, the nearest one that passes, and its words."""


def test_every_guard_has_its_case() -> None:
    """No guard is in the table without a situation here that shows it at work."""
    assert set(GUARDS) == {guard.__name__ for row in TABLE for guard in row.unless}


@pytest.mark.parametrize(
    ("guard", "history", "refused", "passes", "words"),
    [(guard, *case) for guard, cases in GUARDS.items() for case in cases],
    ids=[f"{guard}-{n}" for guard, cases in GUARDS.items() for n in range(len(cases))],
)
def test_guard(
    guard: str, history: tuple[Event, ...], refused: Event, passes: Event, words: str
) -> None:
    """The guard is the first to refuse the event, in its own words, and a neighbour passes."""
    progress = fold(history)
    row = row_for(progress, refused)
    assert row is not None
    assert next((g.__name__ for g in row.unless if g(progress, refused)), None) == guard
    with pytest.raises(GuardRefused, match=words):
        check(progress, refused)
    check(progress, passes)


def test_a_caller_who_vouches_completes_from_anywhere() -> None:
    """Where neither size nor LSN was told, nothing stands between copying and completing."""
    for history in (BEGUN, VOUCHED_COPY, FOLLOWING, VOUCHED):
        assert fold([*history, complete()]).state is State.COMPLETED


# --- No trap ------------------------------------------------------------------------------------


@given(histories(), st.booleans())
def test_the_plan_leads_to_completion_from_everywhere(
    history: tuple[Event, ...], source_forgets: bool
) -> None:
    """From every unfinished situation, doing what the plan says completes the bootstrap.

    Also if the source loses the snapshot on the way, and a new generation must be copied.
    """
    progress = fold(history)
    if progress.state in FINAL:
        return
    events = finish(progress, lose_snapshot=source_forgets)
    assert fold([*history, *events]).state is State.COMPLETED


@given(histories())
def test_an_operator_can_always_end_it(history: tuple[Event, ...]) -> None:
    """Every unfinished bootstrap can be aborted at once; a promotion after rolling back."""
    progress = fold(history)
    if progress.unfinished:
        rolled_back = progress.phase is State.PROMOTING
        assert advance(progress, abort(rolled_back=rolled_back)).state is State.ABORTED


@given(histories())
def test_whatever_runs_can_stop_and_go_on_where_it_was(history: tuple[Event, ...]) -> None:
    """Suspending and resuming leads back to the same phase and forgets nothing."""
    before = fold(history)
    if before.state not in PHASES:
        return
    after = fold([*history, suspend(), resume(before.epoch + 1)])
    assert after.state is before.state
    assert (after.snapshot, after.position, after.promoted_generation) == (
        before.snapshot,
        before.position,
        before.promoted_generation,
    )


def test_final_is_final() -> None:
    """Nothing at all can follow a completion or an abort."""
    for name in ("completed", "aborted"):
        progress = fold(SITUATIONS[name])
        for event in VARIANTS:
            with pytest.raises(IllegalEvent):
                check(progress, event)


def test_scattered_bytes_never_block_the_copy() -> None:
    """With the most islands there can be, byte by byte from the first gap still completes it."""
    history = [*SCATTERED, chunk(size_bytes=200)]
    progress = fold(history)
    while progress.snapshot is not None and not progress.snapshot.whole:
        progress = advance(progress, chunk(progress.snapshot.offset_bytes, 1))


def test_every_small_history_agrees_and_leads_out() -> None:
    """All situations within five events of a small alphabet: live, fold and plan agree on them."""
    seen: set[str] = set()
    frontier = [EMPTY]
    for _ in range(5):
        reached = []
        for before in frontier:
            for event in VARIANTS:
                verdict = judge(before, event)
                if isinstance(verdict, Refused) or repr(verdict) in seen:
                    continue
                seen.add(repr(verdict))
                reached.append(verdict)
                if verdict.unfinished:
                    assert finish(verdict)
        frontier = reached
    assert len(seen) > 1000


@given(st.data())
def test_random_attempts_never_part_live_from_fold(data: st.DataObject) -> None:
    """Along any course of attempts, legal or not, the live machine is the fold of what it took."""
    live, taken = LiveIntent(), list[Event]()
    for _ in range(data.draw(st.integers(0, 12))):
        event = data.draw(attempts(live.progress))
        before = live.progress
        try:
            live.move(event)
        except Refused:
            assert live.progress is before
        else:
            taken.append(event)
        assert live.progress == fold(taken)
        assert live.state == live.progress.state
    live.close()
