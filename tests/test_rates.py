from __future__ import annotations

from itertools import pairwise

import pytest
import sample_events as sample
from hypothesis import given
from hypothesis import strategies as st
from test_standing import applied, at

from bootledger.projections.rates import DEFAULT_HALF_LIFE_S, Meter, Pace, past_pace
from bootledger.statemachine.events import Event

intervals = st.lists(
    st.tuples(st.floats(0.01, 1000), st.integers(0, 10**9)), min_size=1, max_size=30
)


def measured(looks: list[tuple[float, float]]) -> Meter:
    """A meter after these looks at a count: (time, total)."""
    meter = Meter()
    for at_s, total in looks:
        meter.see(total, at_s)
    return meter


def looks_of(grown: list[tuple[float, int]]) -> list[tuple[float, float]]:
    """The looks between which a count grew by so much in so long."""
    looks = [(0.0, 0.0)]
    for elapsed_s, count in grown:
        looks.append((looks[-1][0] + elapsed_s, looks[-1][1] + count))
    return looks


@given(intervals)
def test_a_measured_rate_lies_between_the_slowest_and_the_fastest_interval(
    grown: list[tuple[float, int]],
) -> None:
    """Whatever stalls and bursts there are."""
    looks = looks_of(grown)
    rates = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(looks)]
    rate = measured(looks).per_s
    assert rate is not None
    assert min(rates) * (1 - 1e-6) <= rate <= max(rates) * (1 + 1e-6)


@given(st.floats(1, 1e9), st.lists(st.floats(0.01, 1000), min_size=1, max_size=20))
def test_a_steady_rate_is_measured_exactly_whenever_one_looks(
    rate: float, pauses_s: list[float]
) -> None:
    """The moments of looking do not count, and neither does one look more."""
    looks = [(0.0, 0.0)]
    for pause_s in pauses_s:
        looks.append((looks[-1][0] + pause_s, (looks[-1][0] + pause_s) * rate))
    assert measured(looks).per_s == pytest.approx(rate, rel=1e-6)


def test_after_a_half_life_what_was_before_counts_half() -> None:
    """A stall halves a rate that lasted long, a burst without time waits for the next look."""
    long_s = 100 * DEFAULT_HALF_LIFE_S
    steady = [(0.0, 0.0), (long_s, long_s * 8)]
    stalled = [*steady, (long_s + DEFAULT_HALF_LIFE_S, long_s * 8)]
    assert measured(stalled).per_s == pytest.approx(4)
    assert measured([*steady, (long_s, 10**9)]).per_s == pytest.approx(8)
    assert measured([(5.0, 7.0)]).per_s is None
    assert measured(stalled).measured_s == long_s + DEFAULT_HALF_LIFE_S


def test_what_lies_in_a_pause_is_no_work() -> None:
    """Neither its time nor what happened in it counts; a count that went back begins afresh."""
    meter = measured([(0.0, 0.0), (10.0, 50.0)])
    meter.pause()
    for at_s, total in ((1000.0, 60.0), (1010.0, 110.0), (1011.0, 0.0), (1021.0, 50.0)):
        meter.see(total, at_s)
    assert meter.per_s == pytest.approx(5)
    assert meter.measured_s == 30


def test_the_pace_of_a_bootstrap_is_what_its_events_and_their_times_say() -> None:
    """Copying, reading again and applying, each in its own time; a suspension is no time at all."""
    events: list[Event] = [
        at(sample.chunk(0, 0), 1000),
        at(sample.chunk(0, 100), 2000),
        at(sample.suspend(), 5000),
        at(sample.resume(), 905_000),
        at(sample.chunk(100, 100), 906_000),
        at(sample.chunk(200, 100), 907_000),
        at(sample.chunk(0, 0, generation=2), 908_000),
        at(sample.chunk(0, 100, generation=2), 909_000),
        at(sample.chunk(100, 200, generation=2), 911_000),
        applied(10, 913_000),
        applied(40, 914_000),
        applied(90, 915_000),
        applied(95, 916_000, timeline=2),
        at(sample.suspend(), 917_000),
    ]
    assert past_pace(reversed(events), 300) == Pace(
        copy_bytes_per_s=100, check_bytes_per_s=150, apply_changes_per_s=40
    )
    assert past_pace(reversed(events), None).check_bytes_per_s is None
    assert past_pace([], 300) == Pace()
    backwards = [at(sample.chunk(0, 0), 2000), at(sample.chunk(0, 100), 1000)]
    assert past_pace(reversed(backwards), 300) == Pace()


FIELDS = Pace.__struct_fields__
paces = st.builds(Pace, **{name: st.none() | st.floats(0, 10) for name in FIELDS})


@given(paces, paces)
def test_a_pace_is_completed_by_another_where_it_knows_nothing(mine: Pace, other: Pace) -> None:
    """What was measured counts, even if it is zero."""
    both = mine.or_else(other)
    for name in FIELDS:
        own = getattr(mine, name)
        assert getattr(both, name) == (getattr(other, name) if own is None else own)
