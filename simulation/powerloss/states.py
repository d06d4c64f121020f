"""Every disk that a loss of power may leave of a trace, one by one. Pure.

Where few enough disks are possible, all of them; else the telling ones first (what was written up
to a moment, from a moment on, one thing alone, all but one or two) and then seeded chance.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bootledger.errors import InvalidValue
from bootledger.simulation.powerloss.composing import Composer, Kept
from bootledger.simulation.powerloss.disk import Rules
from bootledger.simulation.powerloss.image import PAGE_BYTES, Image
from bootledger.simulation.powerloss.moments import Moment, moments
from bootledger.simulation.powerloss.pending import Chain
from bootledger.simulation.powerloss.trace import Trace

EXHAUSTIVE_UP_TO = 4096
"""Of a moment with more legal disks than that, a sample is drawn."""
DEFAULT_BUDGET = 20_000

_CHANCES = (0.1, 0.5, 0.9)
_PATIENCE = 500
_FEW = 4
"""Of a moment with a smaller share chance alone draws: what is told first is the same in all."""
Key: TypeAlias = tuple[bytes, int]
"""What a state is told apart by: the digest of its disk, and how much was acknowledged."""

_TOKEN = re.compile(r"\w+/\d+/(sync#\d+|end):keep=([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class State:
    """One disk that may be left: what of each chain of which moment reached it.

    `acknowledged` is all that had been promised by then: recovery must keep every word of it.
    """

    token: str
    moment: int
    kept: Kept
    acknowledged: Sequence[bytes]


class States:
    """The disks that a loss of power may leave of `trace`, by `rules`, cut at `block_bytes`.

    Iterate over it as often as you like: the same seed gives the same states in the same order,
    each disk once for each set of promises. At most `budget` of them; where that is less than all,
    every moment gets its share, or, if there are more moments than that, some by chance get one.
    `legal` is how many choices there are, duplicates included; `exhaustive` says that all of them
    are looked at.

    What the `sound` trace can leave, too, is left out, to see what a mistake adds: whole moments
    that are the same in both, and every disk that is one of its states.

    Raises `InvalidValue` for a block that is not a power of two up to a page.
    """

    def __init__(
        self,
        trace: Trace,
        rules: Rules = Rules.STRICT,
        block_bytes: int = PAGE_BYTES,
        *,
        budget: int = DEFAULT_BUDGET,
        seed: int = 0,
        sound: States | None = None,
    ) -> None:
        if block_bytes not in {2**power for power in range(PAGE_BYTES.bit_length())}:
            raise InvalidValue(f"a block of {block_bytes} bytes: a power of two up to {PAGE_BYTES}")
        self.trace = trace
        self.rules = rules
        self.block_bytes = block_bytes
        self.seed = seed
        self.moments = tuple(moments(trace, rules, block_bytes))
        known = () if sound is None else sound.moments
        self._legal = [0 if _among(known, moment) else _legal(moment) for moment in self.moments]
        self._shares = _shares(self._legal, budget, seed)
        self._known = frozenset() if sound is None else sound.keys()
        self._prefix = f"{rules.value}/{block_bytes}/"
        self._composer: tuple[int, Composer] | None = None
        self._keys: frozenset[Key] | None = None

    @property
    def legal(self) -> int:
        """How many choices there are of what reached the disk."""
        return sum(self._legal)

    @property
    def exhaustive(self) -> bool:
        """Whether every legal disk is among the states."""
        return self._legal == self._shares

    def __iter__(self) -> Iterator[State]:
        """Yield the states, moment by moment."""
        for state, _ in self._keyed():
            yield state

    def keys(self) -> frozenset[Key]:
        """Return what the states are told apart by; worked out once."""
        if self._keys is None:
            self._keys = frozenset(key for _, key in self._keyed())
        return self._keys

    def _keyed(self) -> Iterator[tuple[State, Key]]:
        seen: set[Key] = set()
        for number, moment in enumerate(self.moments):
            if not self._shares[number]:
                continue
            composer = Composer(moment)
            exhaustive = self._shares[number] == self._legal[number]
            left = self._shares[number]
            patience = _PATIENCE
            for kept in _all(moment.chains) if exhaustive else self._sample(moment, left):
                key = (composer.digest(kept), len(moment.acknowledged))
                if key not in seen and key not in self._known:
                    seen.add(key)
                    yield self.state(number, kept), key
                    left -= 1
                    patience = _PATIENCE
                elif not exhaustive:
                    patience -= 1
                if not left or not patience:
                    break

    def state(self, number: int, kept: Kept) -> State:
        """Return the state of a moment that has `kept`, whether it is one of those drawn or not."""
        moment = self.moments[number]
        choice = _packed(kept, moment.chains)
        token = f"{self._prefix}{moment.label}:keep={choice:x}"
        return State(token, number, kept, moment.acknowledged)

    def image(self, state: State) -> Image:
        """Return the disk of a state. Fast for states of one moment in a row."""
        if self._composer is None or self._composer[0] != state.moment:
            self._composer = (state.moment, Composer(self.moments[state.moment]))
        return self._composer[1].image(state.kept)

    def replay(self, token: str) -> State:
        """Return the state that `token` stands for, in this trace.

        Raises `InvalidValue` if there is none: the token is of another trace or other rules.
        """
        found = _TOKEN.fullmatch(token)
        if found is not None and token.startswith(self._prefix):
            choice = int(found[2], 16)
            for number, moment in enumerate(self.moments):
                if moment.label == found[1] and choice < self._legal[number]:
                    return self.state(number, _unpacked(choice, moment.chains))
        raise InvalidValue(
            f"{token!r} is no state of this trace under {self._prefix}",
            hint="replay it with the rules and the recording that it was found with",
        )

    def _sample(self, moment: Moment, share: int) -> Iterator[Kept]:
        """Yield choices without end, of which about `share` are wanted."""
        if share >= _FEW:
            yield from _telling(moment.chains)
        chance = random.Random(f"{self.seed} {moment.label}")
        lengths = [len(chain) for chain in moment.chains]
        for p in itertools.cycle(chance.sample(_CHANCES, len(_CHANCES))):
            yield tuple([n if chance.random() < p else chance.randrange(n) for n in lengths])


def _all(chains: Sequence[Chain]) -> Iterator[Kept]:
    return itertools.product(*(range(len(chain) + 1) for chain in chains))


def _among(known: Sequence[Moment], moment: Moment) -> bool:
    """Return whether the same may be left at one of the `known` moments, of the same promises."""
    return any(
        each.acknowledged == moment.acknowledged
        and each.chains == moment.chains
        and each.durable == moment.durable
        for each in known
    )


def _legal(moment: Moment) -> int:
    return math.prod(len(chain) + 1 for chain in moment.chains)


def _shares(legal: Sequence[int], budget: int, seed: int) -> list[int]:
    """Return how many states each moment gets; what a small one does not need, the others do."""
    shares = [0] * len(legal)
    left = budget
    wanted = [number for number, choices in enumerate(legal) if choices]
    chosen = random.Random(seed).sample(wanted, min(budget, len(wanted)))
    by_size = sorted(chosen, key=lambda number: (legal[number], number))
    for done, number in enumerate(by_size):
        share = left // (len(by_size) - done)
        most = legal[number] if legal[number] <= EXHAUSTIVE_UP_TO else share
        shares[number] = min(share, most)
        left -= shares[number]
    return shares


def _telling(chains: Sequence[Chain]) -> Iterator[Kept]:
    """Yield what is worth a look whatever chance says: few kept, few lost, all up to a moment."""
    every = [len(chain) for chain in chains]
    nothing = [0] * len(chains)
    yield tuple(nothing)
    yield tuple(every)
    orders = sorted(atom.order for chain in chains for atom in chain)
    for order in orders:
        yield tuple([sum(atom.order <= order for atom in chain) for chain in chains])
    for order in orders:
        yield tuple([len(chain) if chain[-1].order > order else 0 for chain in chains])
    for index, n in enumerate(every):
        for kept in range(1, n + 1):
            yield (*nothing[:index], kept, *nothing[index + 1 :])
        for kept in range(n):
            yield (*every[:index], kept, *every[index + 1 :])
    for first, second in itertools.combinations(range(len(chains)), 2):
        lost = list(every)
        lost[first] -= 1
        lost[second] -= 1
        yield tuple(lost)


def _packed(kept: Kept, chains: Sequence[Chain]) -> int:
    choice = 0
    for count, chain in zip(kept, chains, strict=True):
        choice = choice * (len(chain) + 1) + count
    return choice


def _unpacked(choice: int, chains: Sequence[Chain]) -> Kept:
    kept: list[int] = []
    for chain in reversed(chains):
        choice, count = divmod(choice, len(chain) + 1)
        kept.append(count)
    return tuple(reversed(kept))
