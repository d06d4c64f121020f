"""Damaged answers: a replica gets the right bytes from the next try, or an error of bootledger."""

from __future__ import annotations

import io
import logging
import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
from mutations import damaged
from processes import peak_resident_bytes
from replicas import make_primary
from speaking import Asked, Honest, http_answer

from bootledger.basebackup.manifest import Chunk, decode
from bootledger.errors import BootledgerError, Stopped
from bootledger.files import Files
from bootledger.primary.source import LocalSource
from bootledger.replica.http import retrying, transport
from bootledger.replica.http.source import HttpSource
from bootledger.replica.ports import Pin
from bootledger.replica.seal import SEAL_HEADER, seal_answer

FEW = 1600
MOST_GROWTH_BYTES = 100 * 2**20
HANGS_S = 20

Call = Callable[[HttpSource], object]


class MemorySocket:
    """The client's end of a connection whose other end answers at once, from memory."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._sent = bytearray()
        self._timeout: float | None = None
        # It is always readable, so no connection is used twice: every answer stands for itself.
        self._fd = os.open(os.devnull, os.O_RDONLY)

    def sendall(self, data: bytes) -> None:
        self._sent += data

    def makefile(self, mode: str) -> io.BufferedReader:
        raw = io.BytesIO(self._answer(bytes(self._sent)))
        return io.BufferedReader(raw)  # it has what a raw stream has

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        return self._timeout

    def setsockopt(self, *_: object) -> None:
        pass

    def fileno(self) -> int:
        return self._fd

    def shutdown(self, how: int) -> None:
        pass

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class Wire:
    """Answers requests rightly, and the next one in the way that `spoil` makes of that."""

    def __init__(self, honest: Honest) -> None:
        self._honest = honest
        self._right: dict[bytes, bytes] = {}
        self.spoil: Callable[[Asked, bytes], bytes] | None = None
        self.answers = 0

    def connect(self, *_: object) -> MemorySocket:
        return MemorySocket(self._answer)

    @property
    def known(self) -> list[bytes]:
        """Every right answer that there was."""
        return list(self._right.values())

    def _answer(self, sent: bytes) -> bytes:
        self.answers += 1
        head, _, body = sent.partition(b"\r\n\r\n")
        asked = Asked.parse(head, body)
        if sent not in self._right:
            self._right[sent] = self._honest(asked)
        right = self._right[sent]
        spoil, self.spoil = self.spoil, None
        return right if spoil is None else spoil(asked, right)


class World:
    """A source, the wire to its primary, and what every method of it must return."""

    def __init__(self, source: HttpSource, wire: Wire, pin: Pin, chunk: Chunk) -> None:
        self.source = source
        self.wire = wire
        token, offset, length = pin.token, chunk.offset_bytes, chunk.length_bytes
        calls: dict[str, Call] = {
            "info": lambda source: source.info(),
            "identity": lambda source: source.identity(),
            "last_lsn": lambda source: source.last_lsn(),
            "pin": lambda source: source.pin("intent", 1, _stop),
            "manifest": lambda source: source.read_manifest(token, 0, 2**20),
            "part": lambda source: len(source.read_chunk(token, offset, length)),
            "fetched chunk": lambda source: source.fetch_chunk(token, chunk),
            "changes": lambda source: source.changes(3, 5),
            "no changes": lambda source: source.changes_within(source.last_lsn(), 5, 0.0),
            "release": lambda source: source.release("never-there.1"),
        }
        self.expected = {name: (call, call(source)) for name, call in calls.items()}

    @classmethod
    def made(cls, directory: Path, compression: str) -> Iterator[Self]:
        make_primary(directory / "primary", records=100)
        with LocalSource.open(directory / "primary", Files(), chunk_bytes=4096) as local:
            pin = local.pin("intent", 1)
            chunk = decode(local.read_manifest(pin.token, 0, 2**20)).chunk(2)
            wire = Wire(Honest(local))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(transport._Connection, "_new_conn", wire.connect)
                patch.setattr(secrets, "randbits", lambda _: 7)  # so that answers can be kept
                patch.setattr(time, "sleep", lambda _: None)
                for name in ("connection", "connectionpool", "response"):
                    patch.setattr(logging.getLogger(f"urllib3.{name}"), "disabled", True)
                url = "http://127.0.0.1:1"
                with HttpSource.open(url, slot="r", compression=compression) as source:
                    yield cls(source, wire, pin, chunk)


def _stop() -> None:
    raise Stopped("a base backup that never gets ready")


@pytest.fixture(params=["on", "off"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Return a source that fetches chunks compressed or as they are."""
    before = signal.signal(signal.SIGALRM, _hangs)
    yield from World.made(tmp_path, request.param)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _hangs(*_: object) -> None:
    raise AssertionError(f"nothing came of an answer for {HANGS_S} s")


def survive_damage(world: World, count: int, seed: int) -> None:
    """Damage the first answer to so many calls; each of them must return what is right."""
    chance = random.Random(seed)
    calls = list(world.expected.items())
    spoiled = 0

    def spoil(asked: Asked, right: bytes) -> bytes:
        nonlocal spoiled
        spoiled += 1
        return damaged(chance, right, world.wire.known)

    while spoiled < count:
        name, (call, expected) = chance.choice(calls)
        world.wire.spoil = spoil
        signal.alarm(HANGS_S)
        try:
            assert call(world.source) == expected
        except Exception as error:
            raise AssertionError(f"{name} after {spoiled} answers, seed {seed}") from error


def refuse_hostility(world: World, count: int, seed: int) -> None:
    """Say so many wrong things, sealed and framed rightly: a wrong chunk is never taken."""
    chance = random.Random(seed)
    calls = list(world.expected.items())
    said = 0

    def spoil(asked: Asked, right: bytes) -> bytes:
        nonlocal said
        said += 1
        world.wire.spoil = spoil
        body = damaged(chance, right, world.wire.known).partition(b"\r\n\r\n")[2]
        head = dict(
            line.split(": ", 1)
            for line in right.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        )
        status = chance.choice((int(right[9:12]),) * 5 + (404, 410, 416, 500, 503))
        head |= {"Content-Length": str(len(body))}
        head |= {SEAL_HEADER: seal_answer(asked.headers[SEAL_HEADER.lower()], status, body)}
        if status >= 400:
            head |= {"Content-Type": "application/problem+json"}
        return http_answer(status, body, head)

    while said < count:
        name, (call, expected) = chance.choice(calls)
        world.wire.spoil = spoil
        signal.alarm(HANGS_S)
        try:
            returned = call(world.source)
        except BootledgerError:
            continue
        assert type(returned) is type(expected), name
        if name == "fetched chunk":
            assert returned == expected


def test_a_damaged_answer_is_dropped_and_asked_for_again(world: World) -> None:
    """Every method returns what is right, whatever was done to the first answer."""
    survive_damage(world, FEW // 2, seed=1)


def test_a_hostile_answer_is_an_error_of_ours_or_a_value(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage that is sealed and framed as it should be ends in an error with a name."""
    monkeypatch.setattr(retrying, "TRIES", 1)
    refuse_hostility(world, FEW // 6, seed=2)


@pytest.mark.crash
def test_many_damaged_answers(
    world: World, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    """Hundreds of thousands of damaged answers leave every method right, and memory as it was."""
    count = pytestconfig.getoption("fuzz_responses") // 2  # one half compressed, one as it is
    before = peak_resident_bytes(os.getpid())
    survive_damage(world, count * 4 // 5, seed=3)
    monkeypatch.setattr(retrying, "TRIES", 1)
    refuse_hostility(world, count // 5, seed=4)
    assert peak_resident_bytes(os.getpid()) - before < MOST_GROWTH_BYTES
