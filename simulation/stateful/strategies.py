"""What Hypothesis chooses: where lives die."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from bootledger.errors import InvalidValue
from bootledger.simulation.schedules import words_of

DEFAULT_MAX_CRASHES = 3


def crash_schedules(
    points: Sequence[str], *, max_crashes: int = DEFAULT_MAX_CRASHES
) -> st.SearchStrategy[str]:
    """Return a strategy of schedules of up to `max_crashes` crashes, as tokens.

    `points` are where lives may die, in the order in which they are passed
    (`bootledger.simulation.points_of`). What `bootledger.simulation.replay` takes is generated,
    for its `may_miss`: a later life may well not come to its point. It shrinks to fewer crashes,
    then to earlier ones.

    Raises `InvalidValue` if there are no points, or fewer than one crash.
    """
    if not points or max_crashes < 1:
        raise InvalidValue(f"{len(points)} points and {max_crashes} crashes must be at least 1")
    return st.lists(st.sampled_from(points), max_size=max_crashes).map(words_of)
