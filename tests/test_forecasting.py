from __future__ import annotations

import inspect
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
import sample_events as sample
from played import PlayedSource, assert_ends_equal, replicate_played
from replicas import NODE, Counts

from bootledger.errors import CannotConverge, SourceUnavailable, Stopped
from bootledger.projections.convergence import Convergence
from bootledger.projections.forecast import Forecast
from bootledger.projections.rates import Pace, pace_of_node
from bootledger.replica.forecasting import Forecasting, look_at
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.observer import Observer, Relay
from bootledger.replica.wire import PrimaryInfo
from bootledger.statemachine import plan
from bootledger.statemachine.fold import fold
from bootledger.statemachine.progress import known
from bootledger.statemachine.ranges import Range

PATIENCE_S = 10.0


class Hears(Counts):
    """Remembers forecasts, and when they were told."""

    def __init__(self, source: PlayedSource) -> None:
        super().__init__()
        self._source = source
        self.forecasts: list[tuple[float, Forecast]] = []
        self.pinned: list[int] = []

    def on_pinning(self, generation: int) -> None:
        self.pinned.append(generation)

    def on_forecast(self, forecast: Forecast) -> None:
        self.forecasts.append((self._source.now_s, forecast))


def watching(
    source: PlayedSource, hears: Observer, past: Pace | None = None, *, ignore: bool = False
) -> Forecasting:
    """What watches a played bootstrap, in its time."""
    return Forecasting(
        hears,
        source.info,
        past=past,
        ignore=ignore,
        renew_s=1.0,
        tell_s=20.0,
        patience_s=PATIENCE_S,
        clock=lambda: source.now_s,
    )


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the replica is to live."""
    return tmp_path / "target"


def source_in(tmp_path: Path, **how: object) -> closing[PlayedSource]:
    """The primary of a test, with these rates and limits."""
    return closing(PlayedSource(tmp_path / "primary", **how))


def test_a_bootstrap_that_loses_its_log_is_refused_early_and_goes_on_where_it_was(
    tmp_path: Path, target: Path
) -> None:
    """Copying takes about a minute, the log is kept for 20 s: refused after 10, not at its end.

    Nothing is lost: the slot holds, and with a wider window the same intent copies the rest only.
    With `ignore` it goes on, and what was forecast happens: the log is gone, it begins again.
    """
    with source_in(tmp_path, slot_max_changes=2000) as source:
        hears = Hears(source)
        with pytest.raises(
            CannotConverge,
            match=r"the copy takes [0-9a-z ]+, the log is kept for \d+(\.\d)? s: "
            r"[\d,]+ changes will wait, slot_max_changes allows 2,000",
        ) as refused:
            replicate_played(source, target, watching(source, hears))
        assert PATIENCE_S <= source.now_s < PATIENCE_S + 3
        assert "serve --slot-max-changes" in refused.value.hint
        assert "--ignore-forecast" in refused.value.hint
        assert hears.forecasts[-1][1].verdict is Convergence.CANNOT
        (slot,) = source.primary.slots()
        assert slot.invalid_because is None
        with IntentLog.open(target / "ledger") as log:
            (intent,) = log.list_unfinished(NODE)
        assert intent.progress.suspension is not None
        assert intent.progress.suspension.cause.startswith("CannotConverge: cannot converge: ")
        copied_bytes = sum(len(range(*one)) for one in hears.fetched)
        assert intent.progress.snapshot is not None
        assert intent.progress.snapshot.staged_bytes == copied_bytes > 0

        again = Hears(source)
        with pytest.raises(Stopped):
            replicate_played(
                source,
                target,
                watching(source, again, ignore=True),
                lambda: "pinned again" if again.pinned else None,
            )
        assert again.pinned == [2]
        assert source.primary.slots()[0].invalid_because is None  # made valid again by the pin

    with source_in(tmp_path, slot_max_changes=200_000) as source:
        outcome = replicate_played(source, target, watching(source, Hears(source)))
        assert outcome.intent_id == str(intent.intent_id)
        assert_ends_equal(source, target)


def test_a_bootstrap_that_converges_ends_when_it_was_forecast(tmp_path: Path, target: Path) -> None:
    """Each forecast of the copy names the end within a tenth of what is left; so does the ledger.

    From its events, the next bootstrap of this node knows how fast this one was.
    """
    past = Pace(apply_changes_per_s=1000)
    with source_in(tmp_path, slot_max_changes=20_000) as source:
        hears = Hears(source)
        outcome = replicate_played(source, target, watching(source, hears, past))
        assert outcome.copied
        during = [(at_s, one) for at_s, one in hears.forecasts if one.situation.left_bytes]
        certain = [(at_s, one) for at_s, one in during if one.verdict is Convergence.CONVERGES]
        assert len(certain) >= 3
        for at_s, one in certain:
            assert one.caught_up_in_s == pytest.approx(source.now_s - at_s, rel=0.1)
            assert one.needed_changes == pytest.approx(source.now_s * 100 * 0.9, rel=0.1)
        with IntentLog.open(target / "ledger") as log:
            pace = pace_of_node(log.store, NODE)
            assert pace_of_node(log.store, "another") == Pace()
        assert_ends_equal(source, target)
    assert pace.copy_bytes_per_s == pytest.approx(10_240, rel=0.05)
    assert pace.apply_changes_per_s == pytest.approx(1000, rel=0.05)


def test_before_the_start_what_is_known_rules_it_out(tmp_path: Path, target: Path) -> None:
    """With rates of an earlier bootstrap no base backup is asked for and no byte copied."""
    past = Pace(copy_bytes_per_s=10_240, apply_changes_per_s=1000)
    with source_in(tmp_path, slot_max_changes=2000, tells_write_rate=True) as source:
        hears = Hears(source)
        with pytest.raises(CannotConverge, match="slot_max_changes allows 2,000"):
            replicate_played(source, target, watching(source, hears, past))
        assert source.now_s == 0
        assert not source.primary.backups()
        assert not hears.fetched
        with pytest.raises(Stopped):
            replicate_played(
                source,
                target,
                watching(source, hears, past, ignore=True),
                lambda: "copies" if hears.fetched else None,
            )


@pytest.mark.parametrize("in_service", [False, True])
def test_who_applies_too_slowly_is_refused_unless_the_database_is_in_service(
    tmp_path: Path, target: Path, *, in_service: bool
) -> None:
    """A bootstrap would never end. A replica that follows is behind, and better than none."""
    if in_service:
        with source_in(tmp_path, write_changes_per_s=0) as source:
            replicate_played(source, target, Observer())
    with source_in(tmp_path, apply_changes_per_s=70) as source:
        source.pass_s(10)
        hears = Hears(source)
        with pytest.raises(Stopped if in_service else CannotConverge) as ended:
            replicate_played(
                source,
                target,
                watching(source, hears),
                lambda: "an operator came" if source.now_s > 150 else None,
            )
        words = "the log grows by 100 changes/s, this replica applies 70/s: it never catches up"
        assert words in hears.forecasts[-1][1].describe()
        assert in_service or words in str(ended.value)


def test_a_forecast_is_told_when_the_verdict_changes_and_now_and_then(
    tmp_path: Path, target: Path
) -> None:
    """At the start nothing is known; then it converges, and is told again after 20 s and more."""
    with source_in(tmp_path, slot_max_changes=20_000) as source:
        hears = Hears(source)
        replicate_played(source, target, watching(source, hears, Pace(apply_changes_per_s=1000)))
    verdicts = [one.verdict for _, one in hears.forecasts]
    assert verdicts[0] is Convergence.DOUBTFUL
    assert set(verdicts[2:]) == {Convergence.CONVERGES}
    times_s = [at_s for at_s, _ in hears.forecasts[2:]]
    assert all(20 <= later - sooner < 23 for sooner, later in pairwise(times_s))


def test_only_work_is_measured(tmp_path: Path) -> None:
    """From the beginning of a step on, and not while the replica waits for the source."""
    with source_in(tmp_path) as source:
        hears = Hears(source)
        watches = watching(source, hears)
        progress = fold((*sample.HALF,))
        snapshot = known(progress.snapshot, "the snapshot")
        watches.on_step(plan.Fetch(snapshot), progress)
        source.now_s = 10.0
        watches.on_fetched(Range(0, 1000))
        source.now_s = 30.0
        watches.on_staged(Range(0, 1000), progress)
        assert hears.forecasts[-1][1].situation.copy_bytes_per_s == pytest.approx(100)

        watches.on_step(plan.Restore(snapshot), progress)
        source.now_s = 80.0
        watches.on_step(plan.CatchUp(0, 1), progress)
        for at_s, applied_lsn, target_lsn in ((90.0, 70, 90), (91, 90, 90), (990, 95, 95)):
            source.now_s = at_s
            watches.on_applied(applied_lsn, target_lsn)
        assert hears.forecasts[-1][0] == 990
        found = hears.forecasts[-1][1].situation
        assert found.apply_changes_per_s == pytest.approx(90 / 11, rel=0.1)
        watches.on_pinning(2)
        (_, again) = hears.forecasts[-1]
        size_bytes = source.info().size_bytes
        assert snapshot.size_bytes is not None
        assert again.situation.check_s == pytest.approx(size_bytes / (snapshot.size_bytes / 50))


def test_a_source_that_says_nothing_of_itself_ends_no_copy(tmp_path: Path, target: Path) -> None:
    """Chunks may come from elsewhere; it is asked again after a minute, not every second."""
    asked = []
    with source_in(tmp_path) as source:

        def look() -> PrimaryInfo:
            asked.append(source.now_s)
            raise SourceUnavailable("gone for lunch")

        hears = Hears(source)
        watches = Forecasting(hears, look, renew_s=1.0, clock=lambda: source.now_s)
        assert replicate_played(source, target, watches).copied
        during_the_copy = [at_s for at_s in asked if 0 < at_s < 59]
    assert not hears.forecasts
    assert not during_the_copy


def test_a_copy_waits_for_no_answer_of_where_its_source_stands(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question hangs for ever: chunks are copied and claimed all the same."""
    monkeypatch.setattr("bootledger.replica.forecasting.LOOK_S", 0.05)
    hangs, end = threading.Event(), threading.Event()
    waited_out: list[bool] = []
    with source_in(tmp_path) as source:

        def look() -> PrimaryInfo:
            if source.now_s > 0:
                hangs.set()
                waited_out.append(not end.wait(20))
            return source.info()

        hears = Hears(source)
        watches = Forecasting(hears, look, renew_s=1.0, clock=lambda: source.now_s)
        try:
            assert replicate_played(source, target, watches).copied
            assert hangs.is_set()
            assert hears.fetched
            assert not waited_out
        finally:
            end.set()


def test_a_source_without_limits_is_judged_by_its_log_alone(tmp_path: Path) -> None:
    """A directory of this machine says where it ends, and keeps everything."""
    with source_in(tmp_path) as source:
        assert look_at(source) == source.info

        class Plain:
            identity, last_lsn = source.identity, source.last_lsn

        info = look_at(Plain())()
        assert (info.last_lsn, info.slot_max_changes) == (source.last_lsn(), None)


@pytest.mark.parametrize("name", [name for name in vars(Observer) if name.startswith("on_")])
def test_a_relay_passes_on_everything(name: str) -> None:
    """None that is added to the observer is forgotten, and no argument."""
    heard = []

    class Last(Observer):
        pass

    setattr(Last, name, lambda self, *arguments: heard.append(arguments))
    told = tuple(object() for _ in list(inspect.signature(getattr(Observer, name)).parameters)[1:])
    getattr(Relay(Last()), name)(*told)
    assert heard == [told]
