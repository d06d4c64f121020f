"""What an embedder calls: `explore` every crash, `replay` one."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from bootledger.errors import InvalidValue
from bootledger.simulation import proving
from bootledger.simulation.bootstrap import BootstrapScenario, Build, bootstrap
from bootledger.simulation.engines import ENGINES
from bootledger.simulation.exploring import Explorer, Told
from bootledger.simulation.losses import LossExplorer, is_loss
from bootledger.simulation.reports import Report
from bootledger.simulation.runs import fresh_run
from bootledger.simulation.scenario import Scenario, Visit, nothing
from bootledger.simulation.schedules import Schedule, parse_schedule
from bootledger.simulation.tasks import Plan

EngineName: TypeAlias = Literal["inproc", "sigkill", "powerloss"]

DEFAULT_BUDGET = 25_000
"""Enough for every pair of crashes of a bootstrap with 150 points."""


def explore(  # noqa: PLR0913 - each is the caller's choice, by name
    build: Build,
    check: Visit,
    *,
    prepare: Visit = nothing,
    between: Visit = nothing,
    crashes: int = 2,
    engine: EngineName = "inproc",
    budget: int = DEFAULT_BUDGET,
    seed: int = 0,
    workers: int = 1,
    prove: bool = False,
    told: Told | None = None,
) -> Report:
    """Run a bootstrap of the caller's parts through every crash, and report what went wrong.

    `build` makes source and applier for one life; `check` looks at the end of each run and raises
    if the database is not what it should be. `prepare` makes what is there before the first life,
    `between` is called after each death.

    Order: once without a crash, every single crash, every pair, then at random up to `crashes` in
    a run; at most `budget` runs (states, for a loss of power). The same `seed` is the same run,
    with any number of `workers`. `told` hears of the report so far, again and again; what it
    raises, as whatever else interrupts, ends the exploration.

    With `prove` the check is checked, if nothing was wrong: appliers that are made to forget a
    change, to apply an old one again, and to say too early that they applied
    (`bootledger.simulation.planted`) must each be objected to. Those runs are not in the numbers.

    Raises nothing for what it finds: ask the report (`Report.assert_ok`). Raises `InvalidValue` for
    a bad argument, `CrashBug` if there is nothing to `prove` with: no two changes of one key, say.
    """
    scenario = bootstrap(build, check, prepare=prepare, between=between)
    report = explore_scenario(
        scenario,
        crashes=crashes,
        engine=engine,
        budget=budget,
        seed=seed,
        workers=workers,
        told=told,
    )
    if prove and not report.violations:
        report.planted = prove_check(scenario, seed=seed)
    return report


def prove_check(scenario: Scenario, *, seed: int = 0) -> dict[str, bool]:
    """Plant each fault in turn, and return by its name whether the scenario's check objected.

    Raises `InvalidValue` if it was not made by `bootstrap`, `CrashBug` if there is nothing to prove
    with.
    """
    if not isinstance(scenario, BootstrapScenario):
        raise InvalidValue(
            "only the applier of a bootstrap can be replaced by one with a fault",
            hint="make the scenario with bootledger.simulation.bootstrap",
        )
    return proving.prove(scenario.of, scenario.build, seed)


def explore_scenario(
    scenario: Scenario,
    *,
    crashes: int = 2,
    engine: EngineName = "inproc",
    budget: int = DEFAULT_BUDGET,
    seed: int = 0,
    workers: int = 1,
    told: Told | None = None,
) -> Report:
    """Do as `explore`, for any code that works through the files of a world."""
    if budget < 1 or workers < 1 or crashes < 0:
        raise InvalidValue(
            f"budget {budget} and workers {workers} must be at least 1, and crashes {crashes} not "
            "negative"
        )
    plan = _plan(scenario, engine, seed)
    explorer = LossExplorer if engine == "powerloss" else Explorer
    return explorer(plan, budget=budget, workers=workers, told=told).explore(crashes)


def replay(
    scenario: Scenario,
    token: str,
    *,
    engine: EngineName = "inproc",
    seed: int = 0,
    may_miss: bool = False,
) -> Report:
    """Do once more what the token of a violation names, and report what it found, with the story.

    A token of a loss of power needs no `engine`. With `may_miss`, a life that does not come to its
    point reaches its end, and the run with it: for tokens that were made up, not told.

    Raises `InvalidValue` if the token is none, or a life did not come to its point and nothing was
    wrong, `CannotTrace` where it needs what this machine does not have.
    """
    _expect(token, str, "token", hint="give it the token of a violation")
    plan = _plan(scenario, "powerloss" if is_loss(token) else engine, seed)
    if plan.engine == "powerloss":
        return LossExplorer(plan, workers=1).play(token)
    schedule = parse_schedule(token)
    report = Explorer(plan, budget=1, workers=1).play(schedule)
    if not may_miss and not report.violations and report.crashes < len(schedule):
        raise InvalidValue(
            f"no life came to {schedule[report.crashes]}",
            hint="scenario, code or seed are not what they were when the token was told",
        )
    return report


def _plan(scenario: Scenario, engine: str, seed: int) -> Plan:
    if engine not in get_args(EngineName):
        engines = ", ".join(get_args(EngineName))
        raise InvalidValue(f"there is no engine {engine!r}", hint=f"there are {engines}")
    _expect(scenario, Scenario, "scenario", hint="give it bootstrap(build, check)")
    _expect(seed, int, "seed", hint="give it a number")
    return Plan(scenario, engine, seed)


def _expect(given: object, kind: type, name: str, *, hint: str) -> None:
    if not isinstance(given, kind):
        raise InvalidValue(f"{given!r} is no {name}", hint=hint)


def points_of(scenario: Scenario, *, seed: int = 0) -> Schedule:
    """Return the tokens of all points that a life without a crash passes, in their order.

    Raises whatever goes wrong without a crash, and `InvalidValue` if it is given no scenario.
    """
    plan = _plan(scenario, "inproc", seed)
    with fresh_run(plan.scenario, ENGINES[plan.engine], plan.seed) as run:
        run.live(None)
        return run.lives[0].points
