"""Power loss, for each durable thing by itself: every disk that it may leave is recovered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from uuid import UUID

import pytest
from losses import recorded, survived
from tallies import Tally

from bootledger.basebackup.manifest import DATA_NAME, MANIFEST_NAME, Chunk, Header, decode, encode
from bootledger.basebackup.publishing import open_manifest
from bootledger.basebackup.staging import Candidate
from bootledger.files import Files
from bootledger.primary.backups import BaseBackups
from bootledger.replica.database import Database
from bootledger.replica.target import Target
from bootledger.simulation.places import fresh_place
from bootledger.simulation.powerloss import Acknowledge, Rules, States, judge
from bootledger.statemachine.ranges import Ranges, add

STRICT, EXT4 = Rules
FILES = Files()
INTENT = UUID(int=7)
PAGE_BYTES = 4096
_BUDGET, _LARGE = 2000, 400


class Part(Protocol):
    """One durable thing: what is there before, a life, and what must hold on what it left."""

    def prepare(self, place: Path) -> None:
        """Make what is durable before the life begins."""

    def run(self, place: Path, acknowledge: Acknowledge) -> None:
        """Live."""

    def recover(self, place: Path, acknowledged: Sequence[bytes]) -> None:
        """Look, do it again, and look again."""


class Replacements:
    """A file is replaced by a longer one, again and again."""

    CONTENTS = tuple(b"%d" % n * PAGE_BYTES * n for n in range(1, 5))

    def prepare(self, place: Path) -> None:
        (place / "file").write_bytes(b"before")

    def run(self, place: Path, acknowledge: Acknowledge) -> None:
        for number, data in enumerate(self.CONTENTS):
            FILES.replace(place / "file", data, name="file")
            acknowledge(b"%d" % number)

    def recover(self, place: Path, acknowledged: Sequence[bytes]) -> None:
        told = [b"before", *self.CONTENTS]
        found = told.index((place / "file").read_bytes())
        assert len(acknowledged) <= found <= len(acknowledged) + 1
        FILES.replace(place / "file", b"again", name="file")
        assert (place / "file").read_bytes() == b"again"
        assert sorted(each.name for each in place.iterdir()) == ["file"]


class Names:
    """A directory is made, a file in it gets a second name, another one for the first, and goes."""

    def prepare(self, place: Path) -> None:
        (place / "whole").write_bytes(b"whole")
        (place / "second").write_bytes(b"something else")

    def run(self, place: Path, acknowledge: Acknowledge) -> None:
        FILES.link(place / "whole", place / "second", name="second")
        acknowledge(b"linked")
        FILES.rename(place / "whole", place / "third", name="third")
        acknowledge(b"renamed")
        FILES.make_directory(place / "directory")
        acknowledge(b"made")
        FILES.remove(place / "third")
        acknowledge(b"removed")

    def recover(self, place: Path, acknowledged: Sequence[bytes]) -> None:
        second = (place / "second").read_bytes()
        assert second == b"whole" or (second == b"something else" and not acknowledged)
        first, third = (place / "whole").exists(), (place / "third").exists()
        assert first + third == 1 or b"made" in acknowledged
        assert third or b"renamed" not in acknowledged or b"made" in acknowledged
        assert (place / "directory").is_dir() or b"made" not in acknowledged
        assert not (third and b"removed" in acknowledged)


class Staging:
    """Four chunks are staged, out of order, into a file that did not exist."""

    CONTENT = random.Random(3).randbytes(3 * 2 * PAGE_BYTES + 4321)
    ORDER = (2, 0, 3, 1)

    def __init__(self) -> None:
        size_bytes, chunk_bytes = len(self.CONTENT), 2 * PAGE_BYTES
        chunks = [
            Chunk.of(ordinal, at, self.CONTENT[at : at + chunk_bytes])
            for ordinal, at in enumerate(range(0, size_bytes, chunk_bytes))
        ]
        header = Header("db-1", 1, 1, 9, DATA_NAME, size_bytes, chunk_bytes, len(chunks))
        self._chunks = chunks
        self._manifest = decode(b"".join(encode(header, chunks)))

    def prepare(self, place: Path) -> None: ...

    def run(self, place: Path, acknowledge: Acknowledge) -> None:
        with self._candidate(place) as candidate:
            candidate.prepare()
            for ordinal in self.ORDER:
                candidate.stage(self._chunks[ordinal], self._data(ordinal))
                acknowledge(b"%d" % ordinal)

    def recover(self, place: Path, acknowledged: Sequence[bytes]) -> None:
        staged: Ranges = ()
        for ordinal in acknowledged:
            staged = add(staged, self._chunks[int(ordinal)].range)
        with self._candidate(place) as candidate:
            assert candidate.damaged(staged) == ()
            candidate.prepare()
            for chunk in candidate.missing(staged):
                candidate.stage(chunk, candidate.found(chunk) or self._data(chunk.ordinal))
        assert (place / "gen-0001" / DATA_NAME).read_bytes() == self.CONTENT

    def _candidate(self, place: Path) -> Candidate:
        return Candidate(place / "gen-0001", self._manifest, FILES)

    def _data(self, ordinal: int) -> bytes:
        chunk = self._chunks[ordinal]
        return self.CONTENT[chunk.offset_bytes : chunk.offset_bytes + chunk.length_bytes]


class Promotions:
    """A target is made, and two generations are put into service, one after the other."""

    def prepare(self, place: Path) -> None: ...

    def run(self, place: Path, acknowledge: Acknowledge) -> None:
        with self._open(place) as target:
            acknowledge(b"0")
            for generation in (1, 2):
                self._fill(target, generation)
                target.promote(generation)
                acknowledge(b"%d" % generation)
                target.remove_unused()

    def recover(self, place: Path, acknowledged: Sequence[bytes]) -> None:
        assert not acknowledged or (place / "target" / "identity").is_file()
        with self._open(place) as target:
            promised = int(acknowledged[-1]) if acknowledged else 0
            current = target.current() or 0
            assert promised <= current <= promised + 1
            if current:
                data = (target.directory(current) / DATA_NAME).read_bytes()
                assert data == b"%d" % current * PAGE_BYTES
            self._fill(target, current + 1)
            target.promote(current + 1)
            target.remove_unused()
            assert target.generations() == [target.current()] == [current + 1]

    def _open(self, place: Path) -> Target:
        return Target.open(place / "target", FILES, source_database_id="db-1", node_id="replica-1")

    def _fill(self, target: Target, generation: int) -> None:
        directory = target.create_generation(generation, INTENT)
        assert target.made_for(generation) == INTENT
        data = b"%d" % generation * PAGE_BYTES
        with FILES.open(directory / DATA_NAME, size_bytes=len(data)) as file:
            file.write_at(0, data)
            file.sync()


class Publication:
    """A base backup of a small database is published, released, and published for another."""

    def prepare(self, place: Path) -> None:
        Database.create(place / "primary", FILES)
        with self._open(place) as primary:
            primary.write([(b"key-%d" % n, b"value" * 50) for n in range(20)])

    def run(self, place: Path, acknowledge: Acknowledge) -> None:
        with self._open(place) as primary:
            backups = BaseBackups(primary, FILES, chunk_bytes=2 * PAGE_BYTES)
            first = backups.pin("first", 1).token
            acknowledge(b"first")
            backups.release(first)
            acknowledge(b"released")
            backups.pin("second", 1)
            acknowledge(b"second")

    def recover(self, place: Path, acknowledged: Sequence[bytes]) -> None:
        root = place / "primary" / "basebackups"
        published = {path.parent.name for path in root.glob("*/manifest")}
        if b"released" not in acknowledged and b"first" in acknowledged:
            assert published <= {"first.1"}
        else:
            assert ("second.1" in published) >= (b"second" in acknowledged)
            assert "first.1" not in published or b"released" not in acknowledged
        with self._open(place) as primary:
            for token in published:
                self._check(root / token, primary)
            backups = BaseBackups(primary, FILES, chunk_bytes=2 * PAGE_BYTES)
            again = backups.pin("second", 1).token
            self._check(root / again, primary)
            backups.release("first.1")
            assert [path.name for path in root.iterdir() if path.is_dir()] == [again]

    def _open(self, place: Path) -> Database:
        return Database.open(place / "primary", FILES, name="primary")

    def _check(self, directory: Path, primary: Database) -> None:
        data = (directory / DATA_NAME).read_bytes()
        with open_manifest(directory / MANIFEST_NAME) as manifest:
            assert manifest.size_bytes == len(data)
            for chunk in manifest.chunks():
                part = data[chunk.offset_bytes : chunk.offset_bytes + chunk.length_bytes]
                assert chunk.objection(part) is None
        with Database.open(directory, FILES, name="reader") as copy:
            assert copy.digest() == primary.digest()


PARTS = [Replacements, Names, Staging, Promotions, Publication]


@pytest.mark.parametrize("part", PARTS)
def test_some_disks_of_each_part_are_recovered(part: type[Part]) -> None:
    """A few disks of every moment, by the strict rules."""
    _, judged = _judge(part(), STRICT, PAGE_BYTES, budget=60)
    assert judged >= 5


@pytest.mark.crash
@pytest.mark.parametrize("part", PARTS)
def test_every_disk_of_each_part_is_recovered(part: type[Part], tally: Tally) -> None:
    """All that may be left page by page, by both rules; a sample of sectors, and of the largest."""
    for rules in Rules:
        for block_bytes in (PAGE_BYTES, 512):
            budget = _LARGE if part is Publication else _BUDGET
            states, judged = _judge(part(), rules, block_bytes, budget)
            assert states.exhaustive or block_bytes < PAGE_BYTES or part is Publication
            tally(f"{part.__name__.lower()}, alone", judged)


def _judge(part: Part, rules: Rules, block_bytes: int, budget: int) -> tuple[States, int]:
    with fresh_place() as place:
        part.prepare(place)
        states = States(recorded(part.run, place), rules, block_bytes, budget=budget)
        return states, survived(judge(states, part.recover, stop_after=10), part).judged
