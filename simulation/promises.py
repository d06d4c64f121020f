"""The judge of a bootstrap: what its lives were promised must be there, and nothing else may be.

What it holds, after every life, from what lies on disk and what the life said of itself:

- Events that were acknowledged are an exact prefix of the ledger. At most the batch that was in
  flight lies beyond it, whole. Positions and versions are dense.
- The events of each intent are legal, and its head is their fold. The index has who is unfinished.
- The applied LSN never goes back. Staged ranges shrink only by a recorded drop or a new generation.
  A snapshot outlives every checkpoint.
- Bytes that are called staged match the manifest, but for those that were damaged on purpose and
  that no life has repaired yet.
- An intent with progress is resumed: none begins beside it. After its last event comes none.
- Nothing that was staged is fetched again unless it was dropped, and at most one range is in flight
  at a crash.
- CURRENT names what was promoted, or what it named before.

That the last life reaches its end, k + 1 lives for k crashes, is the run's own rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Self
from uuid import UUID

from bootledger.basebackup.manifest import MANIFEST_NAME, Manifest
from bootledger.basebackup.publishing import open_manifest
from bootledger.basebackup.staging import Candidate
from bootledger.files import Files
from bootledger.projections.heads import decode_head
from bootledger.replica.readers import CURRENT_NAME, generation_name, read_current
from bootledger.simulation.facts import (
    Appended,
    Appending,
    Began,
    Fact,
    Fetched,
    Flipped,
    Passed,
    Refused,
    Said,
)
from bootledger.simulation.histories import Histories
from bootledger.simulation.scenario import Broken
from bootledger.simulation.world import World
from bootledger.statemachine.events import Event, Resume, SnapshotChunk
from bootledger.statemachine.progress import State
from bootledger.statemachine.ranges import Range, Ranges, add, contains, overlaps, subtract
from bootledger.store.looking import Contents, look
from bootledger.store.port import Recorded


class Promises:
    """Judges the target and the ledger of one run; remembers what was acknowledged so far.

    What is there already when it is made counts as acknowledged.
    """

    def __init__(self, world: World) -> None:
        self._settled: list[Said] = []
        self._histories = Histories()
        self._served: set[int | None] = set()
        self._flipped: set[tuple[int, int]] = set()
        if world.target.exists():
            self._take_in(look(world.ledger).events)
            self._served.add(read_current(world.target))

    def copy(self) -> Self:
        """Return a judge that remembers the same."""
        copied = object.__new__(type(self))
        copied._settled = list(self._settled)
        copied._histories = self._histories.copy()
        copied._served = set(self._served)
        copied._flipped = set(self._flipped)
        return copied

    def judge(self, path: Path, facts: Sequence[Fact]) -> None:
        """Raise `Broken` if anything that this module lists does not hold."""
        world = World(path, life=0)
        contents = look(world.ledger)
        self._flipped.update(
            (f.generation, f.offset_bytes) for f in facts if isinstance(f, Flipped)
        )
        facts = [fact for fact in facts if not isinstance(fact, Passed)]  # most of them are
        self._check_fetches(facts)
        self._check_acknowledged(contents.events, facts)
        self._take_in(contents.events[len(self._settled) :])
        self._check_heads(contents)
        self._check_staged(world)
        self._check_current(world)

    def ended(self, path: Path) -> None:
        """Raise `Broken` if an intent is left unfinished."""
        for intent_id, progress in self._histories.progress().items():
            if progress.unfinished:
                raise Broken(f"the last life ended, and intent {intent_id} is {progress.state}")

    def _take_in(self, new: Sequence[Recorded]) -> None:
        self._histories.take_in(new)
        self._settled.extend(Said(e.intent_id, e.version, e.event) for e in new)

    def _check_acknowledged(self, found: Sequence[Recorded], facts: Sequence[Fact]) -> None:
        """Check that what was acknowledged is there, in order; and what else there may be."""
        for position, recorded in enumerate(found, start=1):
            if recorded.position != position:
                raise Broken(f"position {recorded.position} stands where {position} should")
        said = [Said(e.intent_id, e.version, e.event) for e in found]
        if said[: len(self._settled)] != self._settled:
            raise Broken("events of earlier lives are gone, or are not what they were")
        at = len(self._settled)
        for batch, certain in _batches(facts):
            if tuple(said[at : at + len(batch)]) == batch:
                at += len(batch)
            elif certain:
                raise Broken(f"{_words(batch)} was acknowledged and is not there")
        if at < len(said):
            raise Broken(f"{_words(tuple(said[at:]))} was never asked for, or is there in part")

    def _check_heads(self, contents: Contents) -> None:
        progress = self._histories.progress()
        if (heads := {head.intent_id: _progress_of(head) for head in contents.heads}) != progress:
            raise Broken(f"the heads say {heads}, the events add up to {progress}")
        unfinished = {intent_id for intent_id, p in progress.items() if p.unfinished}
        if unfinished != contents.unfinished:
            raise Broken(f"unfinished are {unfinished}, the index says {contents.unfinished}")

    def _check_staged(self, world: World) -> None:
        """Check that every byte that is called staged is what the manifest says."""
        for intent_id, progress in self._histories.progress().items():
            snapshot = progress.snapshot
            if snapshot is None or not snapshot.staged or not progress.unfinished:
                continue
            if progress.phase is not State.TRANSFERRING or snapshot.manifest_digest is None:
                continue  # restored: from then on the database changes it
            directory = world.target / generation_name(snapshot.generation)
            with (
                open_manifest(directory / MANIFEST_NAME, digest=snapshot.manifest_digest) as table,
                Candidate(directory, table, Files()) as candidate,
            ):
                lost = candidate.damaged(snapshot.staged)
                if lost := self._unexcused(lost, snapshot.generation, table):
                    raise Broken(f"intent {intent_id} calls {lost} staged, and it is not there")

    def _unexcused(self, lost: Ranges, generation: int, table: Manifest) -> Ranges:
        """Return what of `lost` was not damaged on purpose. What is repaired has to stay so."""
        for flipped in [each for each in self._flipped if each[0] == generation]:
            spoilt = Range(flipped[1], flipped[1] + 1)
            if not contains(lost, spoilt):
                self._flipped.remove(flipped)
                continue
            for chunk in table.covering((spoilt,)):
                lost = subtract(lost, chunk.range)
        return lost

    def _check_current(self, world: World) -> None:
        if not world.target.exists() or not (world.target / CURRENT_NAME).exists():
            return
        current = read_current(world.target)
        for intent_id, progress in self._histories.progress().items():
            generation = progress.promoted_generation
            if generation is None:
                continue
            if progress.state is State.COMPLETED and (current is None or current < generation):
                raise Broken(f"intent {intent_id} completed, CURRENT names {current}")
            self._served.add(generation)
        if current is not None and current not in self._served:
            raise Broken(f"CURRENT names generation {current}, which nobody promoted")

    def _check_fetches(self, facts: Sequence[Fact]) -> None:
        """Check that a life fetched only what was not staged, and one range at a time."""
        progress = self._histories.progress()
        staged = {
            p.snapshot.token: p.snapshot.staged for p in progress.values() if p.snapshot is not None
        }
        tokens: dict[UUID, str | None] = {
            i: p.snapshot.token for i, p in progress.items() if p.snapshot is not None
        }
        in_flight: list[tuple[str, Range]] = []
        asked: tuple[Said, ...] = ()
        for fact in facts:
            if isinstance(fact, Fetched):
                piece = Range(fact.start_bytes, fact.end_bytes)
                if contains(staged.get(fact.token, ()), piece):
                    raise Broken(f"{piece} of {fact.token} was fetched, and is staged already")
                in_flight.append((fact.token, piece))
            elif isinstance(fact, Began):
                in_flight.clear()  # it died with the life before
            elif isinstance(fact, Appending):
                asked = fact.batch
            elif isinstance(fact, Appended):
                for said in asked:
                    tokens[said.intent_id] = _restage(
                        staged, said.event, tokens.get(said.intent_id)
                    )
                in_flight = [
                    (token, piece)
                    for token, piece in in_flight
                    if not overlaps(staged.get(token, ()), piece)
                ]
            elif isinstance(fact, Refused):
                in_flight = _in_flight_for_certain(in_flight, asked)
        if len(in_flight) > 1:
            raise Broken(f"more than one range was in flight at the end of a life: {in_flight}")


def _in_flight_for_certain(
    in_flight: list[tuple[str, Range]], refused: tuple[Said, ...]
) -> list[tuple[str, Range]]:
    """Return what is in flight whatever the outcome was of an append that raised."""
    perhaps: dict[str, Ranges] = {}
    for said in refused:
        _restage(perhaps, said.event, None)
    return [
        (token, piece) for token, piece in in_flight if not overlaps(perhaps.get(token, ()), piece)
    ]


_progress_of = lru_cache(maxsize=256)(decode_head)


def _restage(staged: dict[str, Ranges], event: Event, token: str | None) -> str | None:
    """Do to `staged` what an event of the intent that copies `token` says; return its token."""
    if isinstance(event, SnapshotChunk):
        token = event.token
        for brought in event.brought:
            staged[token] = add(staged.get(token, ()), brought)
    elif isinstance(event, Resume) and token is not None:
        for dropped in event.dropped:
            staged[token] = subtract(staged.get(token, ()), dropped)
    return token


def _batches(facts: Sequence[Fact]) -> list[tuple[tuple[Said, ...], bool]]:
    """Return each batch that was asked for, in order, and whether it was acknowledged."""
    batches: list[tuple[tuple[Said, ...], bool]] = []
    for fact in facts:
        if isinstance(fact, Appending):
            batches.append((fact.batch, False))
        elif isinstance(fact, Appended):
            batches[-1] = (batches[-1][0], True)
    return batches


def _words(said: tuple[Said, ...]) -> str:
    return ", ".join(f"event {s.version} ({type(s.event).__name__})" for s in said) or "nothing"
