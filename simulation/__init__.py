"""Crash simulation: an embedder's own source and applier, through every crash, to the end.

    from bootledger.simulation import World, explore

    def build(world: World):
        return MySource(...), MyApplier.open

    def check(world: World) -> None:
        assert rows(world.database) == expected

    explore(build, check).assert_ok()

Needs no test framework.
"""

from bootledger.errors import SimulatedCrash
from bootledger.simulation.bootstrap import Build, bootstrap
from bootledger.simulation.kit import explore, explore_scenario, points_of, prove_check, replay
from bootledger.simulation.reports import CrashBug, Report, Violation
from bootledger.simulation.scenario import Broken, Scenario
from bootledger.simulation.world import World

__all__ = [
    "Broken",
    "Build",
    "CrashBug",
    "Report",
    "Scenario",
    "SimulatedCrash",
    "Violation",
    "World",
    "bootstrap",
    "explore",
    "explore_scenario",
    "points_of",
    "prove_check",
    "replay",
]
