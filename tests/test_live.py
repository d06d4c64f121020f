"""The live machine: check, append, move, and no way around the table."""

from __future__ import annotations

import gc
import weakref

import pytest
from sample_events import BEGUN, HALF, RESTORED, abort, begin, checkpoint, chunk, complete, promote

from bootledger.errors import DivergedHistory, GuardRefused, IllegalEvent
from bootledger.statemachine import live as live_module
from bootledger.statemachine.fold import EMPTY, advance, fold
from bootledger.statemachine.live import LiveIntent
from bootledger.statemachine.progress import FINAL, State
from bootledger.statemachine.table import TABLE

MACHINE = live_module._MACHINE


def test_checking_moves_nothing() -> None:
    """`check` says what would be true; the machine stands where it stood."""
    live = LiveIntent(fold(HALF))
    assert live.check(chunk(40, 20)) == advance(fold(HALF), chunk(40, 20))
    assert live.progress == fold(HALF)
    assert live.state == State.TRANSFERRING
    live.close()


def test_a_failed_append_leaves_the_machine_with_its_log() -> None:
    """Between `check` and `move` anything may fail, and the same event may be tried again."""
    live = LiveIntent(fold(RESTORED))
    for _ in range(3):
        live.check(promote())  # the append failed
    live.move(promote())
    assert live.state == State.PROMOTING
    live.close()


def test_it_starts_anywhere() -> None:
    """A live intent is made from a progress, so a resume is no special case."""
    live = LiveIntent(fold(RESTORED))
    assert live.state == State.CATCHING_UP
    live.move(checkpoint(101))
    assert live.progress == fold([*RESTORED, checkpoint(101)])
    live.close()


def test_refusals_are_the_tables() -> None:
    """The live machine raises what the table says, word for word, and never returns False."""
    live = LiveIntent(fold(BEGUN))
    with pytest.raises(IllegalEvent, match="promote cannot happen in state begun"):
        live.move(promote())
    with pytest.raises(GuardRefused, match="must be generation 1, not 2"):
        live.check(chunk(generation=2))
    assert live.state == State.BEGUN
    live.close()


def test_many_intents_share_one_machine_without_touching_each_other() -> None:
    """A move of one intent moves no other."""
    one, other = LiveIntent(), LiveIntent(fold(HALF))
    one.move(begin())
    assert (one.state, other.state) == (State.BEGUN, State.TRANSFERRING)
    other.move(abort())
    assert (one.state, other.state) == (State.BEGUN, State.ABORTED)
    one.close()
    other.close()


def test_a_state_assigned_by_hand_is_noticed() -> None:
    """Whoever moves the state around the table gets an error at the next event, and no move."""
    live = LiveIntent(fold(BEGUN))
    live.state = State.CATCHING_UP
    with pytest.raises(DivergedHistory, match=r"in catching_up.*in begun.*checkpoint"):
        live.move(checkpoint())
    assert live.progress == fold(BEGUN)
    live.close()


def test_a_state_assigned_between_check_and_move_is_noticed() -> None:
    """What was answered before somebody moved the state is not acted upon."""
    live, event = LiveIntent(fold(BEGUN)), checkpoint()
    live.check(event)
    live.state = State.CATCHING_UP
    with pytest.raises(DivergedHistory, match=r"in catching_up.*in begun.*checkpoint"):
        live.move(event)
    assert live.progress == fold(BEGUN)
    live.close()


def test_an_answer_counts_for_its_event_and_once() -> None:
    """A move is judged by what was said of that very event where the intent stands now."""
    live, half = LiveIntent(fold(HALF)), chunk(40, 20)
    live.check(half)
    with pytest.raises(IllegalEvent, match="promote cannot happen in state transferring"):
        live.move(promote())
    live.move(half)
    with pytest.raises(GuardRefused, match="staged already"):
        live.move(half)
    assert live.progress == fold([*HALF, half])
    live.close()


def test_transitions_alone_obeys_the_same_guards() -> None:
    """Triggering the shared machine directly, past `check`, still meets the table's guards."""
    live = LiveIntent(fold(RESTORED))
    assert not live.trigger("complete", event=complete())
    assert not live.trigger("promote", event=promote(generation=2))
    assert live.state == State.CATCHING_UP
    live.close()


def test_the_machine_has_the_tables_transitions_and_no_others() -> None:
    """One transition for each row and source, no back doors to any state, no callbacks."""
    built = sorted(
        (name, transition.source, transition.dest)
        for name, event in MACHINE.events.items()
        for transitions in event.transitions.values()
        for transition in transitions
    )
    assert built == sorted(
        (row.kind, source.value, row.target.value) for row in TABLE for source in row.sources
    )
    for event in MACHINE.events.values():
        for transitions in event.transitions.values():
            for transition in transitions:
                assert [*transition.prepare, *transition.before, *transition.after] == []
    for state in MACHINE.states.values():
        assert [*state.on_enter, *state.on_exit] == []
        assert state.final == (State(state.name) in FINAL)


def test_a_closed_intent_is_forgotten() -> None:
    """Closing releases the only lasting reference, and may be repeated."""
    live = LiveIntent(EMPTY)
    assert live in MACHINE.models
    live.close()
    live.close()
    assert live not in MACHINE.models
    reference = weakref.ref(live)
    del live
    gc.collect()
    assert reference() is None
