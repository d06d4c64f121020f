"""Crash simulation with Hypothesis: schedules of crashes, and a machine of crashes and faults.

    from hypothesis import given, settings
    from bootledger.simulation import bootstrap, points_of, replay
    from bootledger.simulation.samples import build, check
    from bootledger.simulation.stateful import crash_schedules

    scenario = bootstrap(build, check)

    @settings(deadline=None, max_examples=25)
    @given(crash_schedules(points_of(scenario)))
    def test_every_schedule_ends_well(token):
        replay(scenario, token, may_miss=True).assert_ok()

with your own `build` and `check` (`bootledger.simulation.explore`). A failure names the smallest
token, which `replay` and `bootledger simulate --replay` take as well.

Needs the extra `bootledger[simulation]`; the rest of `bootledger.simulation` does not.
"""

try:
    from bootledger.simulation.stateful.machine import BootstrapMachine
    from bootledger.simulation.stateful.strategies import crash_schedules
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.partition(".")[0] != "hypothesis":
        raise
    raise ModuleNotFoundError(
        "bootledger.simulation.stateful needs Hypothesis: pip install 'bootledger[simulation]'",
        name=missing.name,
    ) from missing

__all__ = ["BootstrapMachine", "crash_schedules"]
