"""Ranges behave like sets of integers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ranges

from bootledger.errors import InvalidValue
from bootledger.statemachine.ranges import (
    Range,
    Ranges,
    add,
    contains,
    first_gap_bytes,
    gaps,
    islands,
    overlaps,
    subtract,
    to_drop,
    total_bytes,
)

BOUND = 45

any_range = st.tuples(st.integers(0, BOUND), st.integers(0, BOUND)).map(lambda p: Range(*sorted(p)))


def as_set(ranges: Ranges) -> set[int]:
    """The model: every byte by its number."""
    return {byte for start, end in ranges for byte in range(start, end)}


def normal(ranges: Ranges) -> bool:
    """Whether ranges are sorted, not empty, disjoint and not adjacent."""
    edges = [edge for r in ranges for edge in r]
    return all(a < b for a, b in itertools.pairwise(edges))


@given(ranges(), any_range)
def test_add_is_union(ranges: Ranges, new: Range) -> None:
    """Adding is the union of sets, in normal form."""
    result = add(ranges, new)
    assert as_set(result) == as_set(ranges) | as_set((new,))
    assert normal(result)


@given(ranges(), any_range)
def test_subtract_is_difference(ranges: Ranges, gone: Range) -> None:
    """Subtracting is the difference of sets, in normal form."""
    result = subtract(ranges, gone)
    assert as_set(result) == as_set(ranges) - as_set((gone,))
    assert normal(result)


@given(ranges(), any_range)
def test_overlaps_is_a_common_element(ranges: Ranges, other: Range) -> None:
    """Two ranges overlap if and only if a byte is in both."""
    assert overlaps(ranges, other) == bool(as_set(ranges) & as_set((other,)))


@given(ranges(), any_range)
def test_contains_is_subset(ranges: Ranges, other: Range) -> None:
    """A range is contained if and only if each of its bytes is."""
    assert contains(ranges, other) == (as_set((other,)) <= as_set(ranges))


@given(ranges())
def test_sizes_and_gaps_count_bytes(ranges: Ranges) -> None:
    """The total counts the bytes, the first gap is the smallest missing one, gaps complement."""
    bytes_in = as_set(ranges)
    assert total_bytes(ranges) == len(bytes_in)
    assert first_gap_bytes(ranges) == next(n for n in range(BOUND + 1) if n not in bytes_in)
    assert as_set(gaps(ranges, BOUND)) == set(range(BOUND)) - bytes_in
    assert normal(gaps(ranges, BOUND))


@given(ranges(), st.integers(1, 10))
def test_adding_at_the_first_gap_makes_no_island(ranges: Ranges, length: int) -> None:
    """Whoever goes on at the first gap never scatters more than before."""
    start = first_gap_bytes(ranges)
    assert islands(add(ranges, Range(start, start + length))) <= islands(ranges)


@given(ranges())
def test_islands_lie_beyond_the_first_gap(ranges: Ranges) -> None:
    """Islands are the ranges that do not begin at byte 0."""
    assert islands(ranges) == sum(1 for r in ranges if r.start_bytes > 0)


@given(ranges(), ranges(), st.integers(0, 3))
def test_to_drop_takes_all_that_failed_and_leaves_few_islands(
    staged: Ranges, failed: Ranges, max_islands: int
) -> None:
    """What is dropped is staged, holds all that failed, and leaves few islands."""
    dropped = to_drop(staged, failed, max_islands)
    left = staged
    for gone in dropped:
        assert contains(staged, gone)
        left = subtract(left, gone)
    assert as_set(left).isdisjoint(as_set(failed))
    assert islands(left) <= max_islands
    assert normal(dropped)


@given(ranges(), ranges())
def test_to_drop_takes_no_more_than_it_must(staged: Ranges, failed: Ranges) -> None:
    """With room for every island, exactly what failed is dropped."""
    assert as_set(to_drop(staged, failed, BOUND)) == as_set(staged) & as_set(failed)


def test_a_backward_range_is_refused() -> None:
    """Adding a range that ends before it starts is an error that names it."""
    with pytest.raises(InvalidValue, match=r"5\.\.4"):
        add((), Range(5, 4))
