from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bootledger.projections.amounts import count, duration, rounded_down, rounded_up, size
from bootledger.projections.convergence import EXCESS, ROOM, Convergence, Situation, reasons_against
from bootledger.projections.forecast import forecast
from bootledger.projections.rates import DEFAULT_HALF_LIFE_S
from bootledger.replica.forecasting import PATIENCE_S, RENEW_S, TELL_S

ORDER = list(Convergence)
HOURS = 3600.0

rates = st.floats(1, 1e6).map(lambda rate: float(f"{rate:.3g}"))
maybe_rates = st.none() | st.just(0.0) | rates
limits = st.none() | st.integers(1, 10**9)


def situations(rate: st.SearchStrategy[float | None]) -> st.SearchStrategy[Situation]:
    """Situations of all kinds, with rates of that kind."""
    return st.builds(
        Situation,
        left_bytes=st.just(0) | st.integers(1, 10**9),
        copy_bytes_per_s=rate,
        write_changes_per_s=rate,
        apply_changes_per_s=rate,
        backlog_changes=st.just(0) | st.integers(0, 10**6),
        check_s=st.just(0.0) | st.floats(0, 1e4),
        outage_s=st.just(0.0) | st.floats(0, 1e4),
        slot_max_changes=limits,
        slot_max_bytes=limits,
        slot_idle_ms=limits,
        change_bytes=st.none() | st.floats(1, 1e4) if rate is maybe_rates else st.floats(1, 1e4),
    )


MORE_IS_BETTER = (
    "copy_bytes_per_s",
    "apply_changes_per_s",
    "slot_max_changes",
    "slot_max_bytes",
    "slot_idle_ms",
)
LESS_IS_BETTER = (
    "write_changes_per_s",
    "left_bytes",
    "backlog_changes",
    "check_s",
    "outage_s",
    "change_bytes",
)


@settings(max_examples=200)
@given(situations(maybe_rates), st.sampled_from(MORE_IS_BETTER + LESS_IS_BETTER), st.data())
def test_nothing_that_gets_better_makes_the_verdict_worse(
    now: Situation, field: str, data: st.DataObject
) -> None:
    """A faster copy, a slower writer, a higher limit: each alone, in any situation."""
    value = getattr(now, field)
    assume(value is not None)
    factor = data.draw(st.floats(1, 100))
    better = value * factor if field in MORE_IS_BETTER else value / factor
    if isinstance(value, int):
        better = math.ceil(better) if field in MORE_IS_BETTER else math.floor(better)
    then = forecast(msgspec.structs.replace(now, **{field: better}))
    assert ORDER.index(then.verdict) <= ORDER.index(forecast(now).verdict)


@settings(max_examples=200)
@given(situations(maybe_rates), st.data())
def test_a_verdict_without_a_rate_holds_whatever_that_rate_is(
    now: Situation, data: st.DataObject
) -> None:
    """What is not known is never taken for good or bad: only `doubtful` may still turn."""
    found = forecast(now)
    known = {
        field: data.draw(rates)
        for field in ("copy_bytes_per_s", "write_changes_per_s", "apply_changes_per_s")
        if getattr(now, field) is None
    }
    if now.change_bytes is None:
        known["change_bytes"] = data.draw(st.floats(1, 1e4))
    then = forecast(msgspec.structs.replace(now, **known))
    assert not then.unknown
    if found.verdict is not Convergence.DOUBTFUL:
        assert then.verdict is found.verdict


@settings(max_examples=200)
@given(situations(maybe_rates))
def test_every_remedy_does_away_with_its_reason(now: Situation) -> None:
    """With the number that it names, in the place that it names, there is one reason less."""
    reasons = reasons_against(now)
    for reason in reasons:
        for remedy in reason.remedies:
            kind = type(getattr(now, remedy.field))
            helped = msgspec.structs.replace(now, **{remedy.field: kind(remedy.value)})
            left = [one for one in reasons_against(helped) if one.says != reason.says]
            assert len(left) < len(reasons)
            assert len(reasons_against(helped)) < len(reasons)


@dataclass
class Ended:
    """How a simulated bootstrap ended: caught up after so long, or why not."""

    after_s: float
    lost: bool = False
    most_kept: int = 0


def simulate(now: Situation) -> Ended:
    """Play a bootstrap in small steps: write, prune, then copy, read again, or apply.

    The link is down once, in the midst of the copy. A source counts whole changes.
    """
    assert now.copy_bytes_per_s
    assert now.write_changes_per_s is not None
    assert now.apply_changes_per_s is not None
    assert now.change_bytes
    left, check_s, outage_s = float(now.left_bytes), now.check_s, now.outage_s
    step_s = (left / now.copy_bytes_per_s + check_s + outage_s + 0.01) / 300
    written, applied, silent_s, most, at_s = float(now.backlog_changes), 0.0, 0.0, 0, 0.0
    half = left / 2
    while at_s < step_s * 300 * 12:
        kept = int(written) - int(applied)
        most = max(most, kept)
        if (
            (now.slot_max_changes is not None and kept > now.slot_max_changes)
            or (now.slot_max_bytes is not None and kept * now.change_bytes > now.slot_max_bytes)
            or (now.slot_idle_ms is not None and silent_s * 1000 > now.slot_idle_ms)
        ):
            return Ended(at_s, lost=True, most_kept=most)
        down = outage_s > 0 and left <= half
        passed_s = min(step_s, outage_s if down else check_s if not left and check_s else step_s)
        written += now.write_changes_per_s * passed_s
        at_s, silent_s = at_s + passed_s, silent_s + passed_s
        if down:
            outage_s -= passed_s
        elif left > 0:
            left, silent_s = max(0.0, left - now.copy_bytes_per_s * passed_s), 0.0
        elif check_s > 0:
            check_s, silent_s = check_s - passed_s, 0.0  # it says that it is there
        else:
            applied, silent_s = min(written, applied + now.apply_changes_per_s * passed_s), 0.0
            if applied >= written:
                return Ended(at_s, most_kept=most)
    return Ended(math.inf, most_kept=most)


@st.composite
def bootstraps(draw: st.DrawFn) -> Situation:
    """A bootstrap whose window and rates lie around what is needed, within a factor of six."""

    def near(number: float) -> float:
        return number * 6 ** draw(st.floats(-1, 1))

    copied_s = draw(st.floats(10, 1e5))
    write = draw(st.floats(1, 1e4))
    idle_s = draw(st.floats(10, 1e4))
    copy = draw(st.floats(1e5, 1e9))
    pile = write * copied_s
    change_bytes = draw(st.floats(20, 2000))
    limit_of = st.none() | st.builds(near, st.just(pile))
    changes, size_in_changes = draw(limit_of), draw(limit_of)
    return Situation(
        left_bytes=int(copied_s * copy),
        copy_bytes_per_s=copy,
        write_changes_per_s=write,
        apply_changes_per_s=near(write * 2),
        backlog_changes=int(pile * draw(st.sampled_from([0, 0.1, 1]))),
        check_s=draw(st.sampled_from([0, 0.01, 0.2])) * copied_s,
        outage_s=draw(st.sampled_from([0.0, 0.0, near(idle_s)])),
        slot_max_changes=None if changes is None else int(changes) + 1,
        slot_max_bytes=None if size_in_changes is None else int(size_in_changes * change_bytes) + 1,
        slot_idle_ms=draw(st.none() | st.just(int(idle_s * 1000))),
        change_bytes=change_bytes,
    )


def compare_with_simulations(examples: int) -> None:
    """Compare that many forecasts with what happens; each verdict must have come up often."""
    seen = dict.fromkeys(Convergence, 0)

    @settings(max_examples=examples)
    @given(bootstraps())
    def compare(now: Situation) -> None:
        found, ended = forecast(now), simulate(now)
        seen[found.verdict] += 1
        if found.verdict is Convergence.CONVERGES:
            assert not ended.lost
            assert found.caught_up_in_s == pytest.approx(ended.after_s, rel=0.04)
            assert found.needed_changes == pytest.approx(ended.most_kept, rel=0.04, abs=2)
        elif found.verdict is Convergence.CANNOT:
            assert ended.lost or math.isinf(ended.after_s)

    compare()
    assert min(seen.values()) > examples / 10, seen


def test_a_bootstrap_that_is_played_through_ends_as_it_was_forecast() -> None:
    """If it converges: when, and how much is kept for it at most. If it cannot: it does not."""
    compare_with_simulations(300)


@pytest.mark.crash
def test_thousands_of_bootstraps_end_as_they_were_forecast() -> None:
    """The same, of ten thousand."""
    compare_with_simulations(10_000)


def convergence_hour(**changed: object) -> Situation:
    """A terabyte at 14.6 MB/s, which takes 19 hours, with one thing changed."""
    usual = Situation(
        left_bytes=10**12,
        copy_bytes_per_s=14_620_000,
        write_changes_per_s=600,
        apply_changes_per_s=9000,
        slot_max_changes=80_000_000,
        slot_max_bytes=10**11,
        change_bytes=200,
        slot_idle_ms=3_600_000,
    )
    return msgspec.structs.replace(usual, **changed)


@pytest.mark.parametrize(
    ("now", "verdict", "says", "helps"),
    [
        (
            convergence_hour(),
            Convergence.CONVERGES,
            "copy ends in 19 h, caught up in 20 h 21 min; uses 51 % of the log window",
            "",
        ),
        (
            convergence_hour(slot_max_changes=12_960_000),
            Convergence.CANNOT,
            (
                "cannot converge: copy ends in 19 h; uses 317 % of the log window; "
                "the copy takes 19 h, the log is kept for 6 h: 41,039,672 changes will wait, "
                "slot_max_changes allows 12,960,000"
            ),
            (
                "keep more of the log: serve --slot-max-changes 62000000; copy 70 MB/s or more; "
                "write 120 changes/s or less meanwhile"
            ),
        ),
        (
            convergence_hour(write_changes_per_s=1200, apply_changes_per_s=900, left_bytes=0),
            Convergence.CANNOT,
            (
                "cannot converge: uses 0 % of the log window; the log grows by 1,200 changes/s, "
                "this replica applies 900/s: it never catches up"
            ),
            "apply 1,900 changes/s or more; write 590 changes/s or less",
        ),
        (
            convergence_hour(left_bytes=0, backlog_changes=4000, check_s=5400),
            Convergence.CONVERGES,
            "caught up in 1 h 36 min; uses 4 % of the log window",
            "",
        ),
        (
            convergence_hour(left_bytes=0, backlog_changes=4000, outage_s=5400),
            Convergence.CANNOT,
            (
                "cannot converge: uses 4 % of the log window; the source hears nothing for "
                "1 h 30 min without a link, slot_idle_ms allows 1 h"
            ),
            "wait longer: serve --slot-idle 8200",
        ),
        (
            convergence_hour(slot_max_bytes=12_000_000_000),
            Convergence.DOUBTFUL,
            (
                "may not converge: copy ends in 19 h, caught up in 20 h 21 min; uses 68 % of the "
                "log window; the copy takes 19 h, the log is kept for 1 d 4 h: 41,039,672 changes "
                "will wait, slot_max_bytes allows 60,000,000"
            ),
            (
                "keep more of the log: serve --slot-max-bytes 13000000000; copy 16 MB/s or more; "
                "write 580 changes/s or less meanwhile"
            ),
        ),
        (
            convergence_hour(copy_bytes_per_s=None, apply_changes_per_s=None),
            Convergence.DOUBTFUL,
            (
                "may not converge: how fast it copies is not known yet; "
                "how fast this replica applies changes is not known yet"
            ),
            "",
        ),
        (
            convergence_hour(copy_bytes_per_s=0, write_changes_per_s=0),
            Convergence.CANNOT,
            "cannot converge: uses 0 % of the log window; the copy stands still with 1 TB left",
            "",
        ),
    ],
)
def test_what_an_operator_reads(
    now: Situation, verdict: Convergence, says: str, helps: str
) -> None:
    """The numbers that decide, in units that fit, and what to change to which value."""
    found = forecast(now)
    assert found.verdict is verdict
    assert found.describe() == says
    assert "; ".join(one.says for reason in found.reasons for one in reason.remedies) == helps


def test_amounts_are_said_in_units_that_fit() -> None:
    """Two units of time, three digits of a size, thousands apart."""
    seconds = (0.04, 9.96, 59.6, 60, 7800, 86_400 * 3 + 3600, 1e12, math.inf)
    assert [duration(one) for one in seconds] == [
        "0.0 s",
        "10.0 s",
        "1 min",
        "1 min",
        "2 h 10 min",
        "3 d 1 h",
        "more than a century",
        "more than a century",
    ]
    assert [size(one) for one in (0, 812, 1254, 1e9)] == ["0 bytes", "812 bytes", "1.25 kB", "1 GB"]
    assert [count(one) for one in (0, 0.25, 9.0, 1234.4)] == ["0", "0.2", "9", "1,234"]


@given(st.floats(1e-6, 1e18))
def test_a_number_is_rounded_to_two_digits_and_to_the_safe_side(number: float) -> None:
    """By at most a tenth, and never past what was needed."""
    assert number <= rounded_up(number) <= number * 1.11
    assert number / 1.11 <= rounded_down(number) <= number
    for rounded in (rounded_up(number), rounded_down(number)):
        assert float(f"{rounded:.1e}") == pytest.approx(rounded, rel=1e-12)


def test_every_number_of_a_situation_has_a_good_direction() -> None:
    """The test of monotony leaves none out."""
    assert sorted(MORE_IS_BETTER + LESS_IS_BETTER) == sorted(Situation.__struct_fields__)


def test_a_forecast_survives_json() -> None:
    """Never a number that JSON does not have: what is endless is null."""
    found = forecast(convergence_hour(copy_bytes_per_s=0, apply_changes_per_s=0))
    assert found.reasons
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_the_example_of_the_page_is_what_the_model_says() -> None:
    """Every number of docs/forecast.md comes out of the code again."""
    page = " ".join((Path(__file__).parent.parent / "docs" / "forecast.md").read_text().split())
    found = forecast(convergence_hour())
    narrow = forecast(convergence_hour(slot_max_changes=12_960_000))
    assert f"bootledger says: `{found.describe()}`." in page
    assert narrow.describe() in page
    assert found.copy_ends_in_s is not None
    assert found.needed_changes is not None
    rows = {
        "the copy takes": ("10^12 / 14.62 · 10^6", duration(found.copy_ends_in_s)),
        "changes that wait then": (
            f"600 · {count(found.copy_ends_in_s)} s",
            count(found.needed_changes),
        ),
        "the window": ("min(80,000,000, 10^11 / 200)", count(found.window_changes or 0)),
        "caught up after": (
            f"{count(found.copy_ends_in_s)} s + {count(found.needed_changes)} / (9,000 - 600)",
            duration(found.caught_up_in_s or 0),
        ),
    }
    for what, (formula, result) in rows.items():
        assert f"| {what} | {formula} | {result} |" in page
    for remedy in narrow.reasons[0].remedies:
        assert remedy.says.removeprefix("keep more of the log: ") in page.replace("`", "")
    assert f"is there {ROOM:g} times" in page
    assert f"{EXCESS:g} times what there is" in page
    assert f"renewed every {RENEW_S:g} seconds" in page
    assert f"every {TELL_S:g} seconds. Rates" in page
    assert f"no hope for {PATIENCE_S:g} seconds" in page
    assert DEFAULT_HALF_LIFE_S == 60
