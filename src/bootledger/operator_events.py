"""What an operator should hear about, and where it goes.

An operator event is something that a person may have to act on. It is handed to a *sink*, any
callable; the default writes it to the standard `logging` under `bootledger.operator`, with the
event itself as the record's `operator_event`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, TypeAlias

_LOGGER = logging.getLogger("bootledger.operator")


class OperatorEvent(Protocol):
    """Anything worth telling: `level` is one of `logging`'s, `describe` is a sentence or two."""

    @property
    def level(self) -> int:
        """How urgent it is, as a level of `logging`."""

    def describe(self) -> str:
        """Return what is the matter and what to do, in words for a person."""


OperatorSink: TypeAlias = Callable[[OperatorEvent], None]


def log_operator_event(event: OperatorEvent) -> None:
    """Write `event` to the logger `bootledger.operator`: the default sink."""
    _LOGGER.log(event.level, "%s", event.describe(), extra={"operator_event": event})
