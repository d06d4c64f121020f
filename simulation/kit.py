"""What an embedder calls: `explore` every crash, `replay` one."""

from __future__ import annotations

from typing import Literal, TypeAlias

from bootledger.simulation.bootstrap import Build, bootstrap
from bootledger.simulation.exploring import Explorer, Told
from bootledger.simulation.reports import Report
from bootledger.simulation.scenario import Scenario, Visit, nothing
from bootledger.simulation.schedules import parse_schedule
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

    Raises nothing for what it finds: ask the report (`Report.assert_ok`). Raises `InvalidValue` for
    a bad argument.
    """
    scenario = bootstrap(build, check, prepare=prepare, between=between)
    return explore_scenario(
        scenario,
        crashes=crashes,
        engine=engine,
        budget=budget,
        seed=seed,
        workers=workers,
        told=told,
    )


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
    plan = Plan(scenario, engine, seed)
    return Explorer(plan, budget=budget, workers=workers, told=told).explore(crashes)


def replay(
    scenario: Scenario, token: str, *, engine: EngineName = "inproc", seed: int = 0
) -> Report:
    """Play one schedule, by the token of a violation, and report what it found, with the story.

    Raises `InvalidValue` if the token is none.
    """
    schedule = parse_schedule(token)
    return Explorer(Plan(scenario, engine, seed), budget=1, workers=1).play(schedule)
