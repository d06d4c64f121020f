"""Runs SCXML documents in python-statemachine: a JSON list of them and their events on stdin."""

from __future__ import annotations

import json
import sys

from statemachine.io import load  # noqa: TID251 - the library, not our room


def walk(document: str, events: list[str]) -> list[str]:
    """Return the states in which the machine stands, at first and after each event."""
    machine = load(document, format="scxml")()
    stood = [_state(machine)]
    for event in events:
        machine.send(event)
        stood.append(_state(machine))
    return stood


def _state(machine: object) -> str:
    (state,) = machine.configuration
    return state.id


if __name__ == "__main__":
    json.dump([walk(*one) for one in json.load(sys.stdin)], sys.stdout)
