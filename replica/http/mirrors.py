"""Which place to fetch the next chunk from: penalties that decay, bans. Pure: time is passed in.

The first place is the primary. It is asked whenever nobody else may be, so a mirror can make a copy
faster and never impossible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

HALF_LIFE_S = 60.0
"""After this time half of a penalty is forgotten."""
BAN_AT = 3.0
"""A penalty that bans: about three failures in a row."""
FIRST_BAN_S = 30.0
MOST_BAN_S = 600.0
"""A ban doubles with each one that follows, up to this."""
ASIDE_S = 300.0
"""How long a mirror is not asked again for a base backup that it does not have."""


class Standing(NamedTuple):
    """What is held against a place: its penalty now, and for how long it will not be asked."""

    place: str
    penalty: float
    banned_for_s: float


@dataclass
class _Health:
    penalty: float = 0.0
    at_s: float = 0.0
    bans: int = 0
    banned_until_s: float = 0.0
    busy: int = 0
    last_taken: int = 0
    aside: dict[str, float] = field(default_factory=dict)

    def decay(self, now_s: float) -> float:
        self.penalty *= 0.5 ** (max(0.0, now_s - self.at_s) / HALF_LIFE_S)
        self.at_s = now_s
        return self.penalty


class Places:
    """The places of one source. Not thread-safe: hold a lock."""

    def __init__(self, names: Sequence[str]) -> None:
        self._primary = names[0]
        self._health = {name: _Health() for name in names}
        self._taken = 0

    def take(self, token: str, now_s: float, misses: Mapping[str, int], most: int) -> str | None:
        """Return the place to ask now for a chunk of `token`; `put_back` it afterwards.

        `misses` is how often each place failed for this very chunk: those that failed less come
        first, and who did `most` times is out. Among the rest the work is spread: by how busy they
        are and their penalties. None if nobody is left, not even the primary.
        """
        able = [name for name in self._health if misses.get(name, 0) < most]
        allowed = [name for name in able if self._may_be_asked(name, token, now_s)]
        if not allowed and self._primary in able:
            allowed = [self._primary]
        if not allowed:
            return None
        chosen = min(allowed, key=lambda name: (misses.get(name, 0), *self._load(name, now_s)))
        self._taken += 1
        self._health[chosen].busy += 1
        self._health[chosen].last_taken = self._taken
        return chosen

    def put_back(self, place: str) -> None:
        """Say that a place that was taken is no longer busy with it."""
        self._health[place].busy -= 1

    def served(self, place: str, now_s: float) -> None:
        """A right chunk came: that makes up for a part of what was held against the place."""
        health = self._health[place]
        health.penalty = health.decay(now_s) / 2
        if now_s >= health.banned_until_s + MOST_BAN_S:
            health.bans = 0

    def failed(self, place: str, now_s: float) -> None:
        """Hold a failure against a place, and ban it after several."""
        health = self._health[place]
        health.penalty = health.decay(now_s) + 1
        if health.penalty >= BAN_AT - 0.5 and now_s >= health.banned_until_s:
            health.banned_until_s = now_s + min(FIRST_BAN_S * 2**health.bans, MOST_BAN_S)
            health.bans = min(health.bans + 1, 10)

    def lacks(self, place: str, token: str, now_s: float) -> None:
        """Leave a mirror aside for a base backup that it does not have; that is no fault."""
        aside = self._health[place].aside
        for old in [old for old, until_s in aside.items() if until_s <= now_s]:
            del aside[old]
        aside[token] = now_s + ASIDE_S

    def standings(self, now_s: float) -> list[Standing]:
        """Return what is held against each place, the primary first."""
        return [
            Standing(name, health.decay(now_s), max(0.0, health.banned_until_s - now_s))
            for name, health in self._health.items()
        ]

    def _may_be_asked(self, name: str, token: str, now_s: float) -> bool:
        health = self._health[name]
        return health.banned_until_s <= now_s and health.aside.get(token, now_s) <= now_s

    def _load(self, name: str, now_s: float) -> tuple[float, int]:
        health = self._health[name]
        return health.busy + health.decay(now_s), health.last_taken
