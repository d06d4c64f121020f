"""Checking the checker: whether the caller's check sees an applier that is broken.

A check that looks at too little (a count, the LSN, some of the rows) accepts one, and then the runs
that it accepted prove nothing. What is planted, and which ways to be broken there are, says
`bootledger.simulation.planted`; here it is chosen which change is spoilt: one whose loss no later
write heals, among those that pass in a run without faults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bootledger.replica.ports import Change
from bootledger.simulation.bootstrap import Build
from bootledger.simulation.engines import live_in_process
from bootledger.simulation.facts import Noted, Passed
from bootledger.simulation.planted import Early, Recording, Wrong, planted
from bootledger.simulation.reports import CrashBug
from bootledger.simulation.runs import Run, fresh_run
from bootledger.simulation.scenario import Lenient, Scenario
from bootledger.simulation.schedules import Schedule


def prove(scenario_of: Callable[[Build], Scenario], build: Build, seed: int) -> dict[str, bool]:
    """Plant each fault in turn, and return by its name whether the run with it was objected to.

    `scenario_of` makes a scenario of a build. The objection may be its check's, or one of the
    caller's own parts'; the judge's do not count. Everything is played in this process, whatever
    engine explores. Raises `CrashBug` if the run without a fault is objected to, there is
    nothing that a fault could spoil, or it does not happen: a proof that could not fail is none.
    """

    def play(fault: Recording | Wrong | Early, schedule: Schedule) -> tuple[Run, bool]:
        scenario = replace(scenario_of(planted(build, fault)), judge=Lenient)
        with fresh_run(scenario, live_in_process, seed) as run:
            try:
                run.play(schedule)
            except Exception:  # noqa: BLE001 - whatever a check, or a part, objects with
                return run, True
        return run, False

    recording = Recording()
    if play(recording, ())[1]:
        raise CrashBug("the check objects to the sound applier: whatever is planted would be seen")
    seen: dict[str, bool] = {}
    for name, fault in faults(recording.in_order()).items():
        schedule: Schedule = ()
        if isinstance(fault, Early):
            schedule = (_after_the_claim(play(fault.anew(), ())[0]),)
        _, seen[name] = play(fault, schedule)
        if not fault.happened:
            raise CrashBug(f"the {name} applier was planted, and behaved like the sound one")
    return seen


def _after_the_claim(run: Run) -> str:
    """Return the first point that is passed after what is put off was called applied."""
    facts = iter(run.lives[0].facts)
    for fact in facts:
        if isinstance(fact, Noted) and fact.words == Early.CLAIMED:
            return next(fact.token for fact in facts if isinstance(fact, Passed))
    raise CrashBug("the early applier was planted, and was never asked to apply")


def faults(changes: Sequence[Change]) -> dict[str, Wrong | Early]:
    """Return each fault, made for a run in which just these changes pass, in their order.

    Raises `CrashBug` if there is nothing for one of them to spoil.
    """
    lost = _unhealed(changes)
    before = changes[lost - 1]
    lost_lsn = changes[lost].lsn
    return {
        "forgetful": Wrong(before._replace(lsn=lost_lsn)),
        "doubling": Wrong(_older(changes)),
        "early": Early(lost_lsn, before),
    }


def _unhealed(changes: Sequence[Change]) -> int:
    """Return the number of a change whose loss would show: none after it writes its key again.

    Best one that puts a value in the place of another, so that no count of rows shows it; then one
    that is known to have brought something new. Never the first, for want of another that could be
    applied in its place.
    """
    last = {change.key: number for number, change in enumerate(changes)}
    deleting: list[int] = []
    unknown: list[int] = []
    for number in sorted(last.values(), reverse=True):
        key, value = changes[number].key, changes[number].value
        earlier = [change.value for change in changes[:number] if change.key == key]
        if number and earlier and earlier[-1] != value:
            if None not in (earlier[-1], value):
                return number
            deleting.append(number)
        if number and not earlier and value is not None:
            unknown.append(number)
    if not (found := deleting + unknown):
        raise CrashBug(
            f"{len(changes)} changes are applied, and the loss of none of them would show: let the "
            "source have a few that set different keys after its base backup"
        )
    return found[0]


def _older(changes: Sequence[Change]) -> Change:
    """Return an older change in the place of a later one of the same key, which it undoes.

    Best one that puts a value in the place of another, as above.
    """
    last = {change.key: change for change in changes}
    undoing = [older for older in reversed(changes) if older.value != last[older.key].value]
    if not undoing:
        raise CrashBug(
            "no key is written twice with different values, so an old change that is applied again "
            "would not show: let the source write a key again after its base backup"
        )
    replacing = (old for old in undoing if None not in (old.value, last[old.key].value))
    older = next(replacing, undoing[0])
    return older._replace(lsn=last[older.key].lsn)
