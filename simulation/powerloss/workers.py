"""Forked workers that recover states, and may die of it: each death is a verdict, not an end."""

from __future__ import annotations

import contextlib
import faulthandler
import mmap
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias

import msgspec

from bootledger.errors import Unavailable
from bootledger.simulation.forks import fork
from bootledger.simulation.memory import expect_openings
from bootledger.simulation.powerloss.composing import Kept
from bootledger.simulation.powerloss.places import Place
from bootledger.simulation.powerloss.private import mount_private
from bootledger.simulation.powerloss.states import State, States

Recover: TypeAlias = Callable[[Path, Sequence[bytes]], None]
"""`recover(place, acknowledged)`: start again on the disk in `place`, to the end, and look.

Whatever it raises is a violation. It runs in a process of its own, and closes what it opens.
"""

_POLL_S = 0.2
_LENGTH_BYTES = 8


class Work(NamedTuple):
    """A state to be judged, by its number in the order of all."""

    number: int
    token: str
    moment: int
    kept: Kept


class Verdict(NamedTuple):
    """What came of a batch: how many of it were judged, and why the last one was not survived."""

    judged: int
    words: str | None


class Worker:
    """One child. It lives until a state is not survived: what that left in it colours no other."""

    def __init__(self, states: States, recover: Recover, *, private: bool) -> None:
        self.batch: list[Work] = []
        self._progress = mmap.mmap(-1, mmap.PAGESIZE)
        to_read, self._to = os.pipe()
        self._from, from_write = os.pipe()
        self._pid = fork()
        if not self._pid:
            os.close(self._to)
            os.close(self._from)
            _work(states, recover, to_read, from_write, self._progress, private=private)
        os.close(to_read)
        os.close(from_write)
        self._looked = (0, time.monotonic())

    def fileno(self) -> int:
        """Return what becomes readable when there is a verdict."""
        return self._from

    def give(self, batch: list[Work]) -> None:
        """Let it judge a batch; it must have none."""
        self.batch = batch
        self._progress[:_LENGTH_BYTES] = bytes(_LENGTH_BYTES)
        self._looked = (0, time.monotonic())
        _send(self._to, msgspec.msgpack.encode(batch))

    def verdict(self) -> Verdict:
        """Return what came of its batch; it has answered, or died."""
        answer = _receive(self._from)
        if answer is not None:
            return msgspec.msgpack.decode(answer, type=Verdict)
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        begun = self._begun()
        if not begun:
            raise Unavailable(f"a worker ended before its work: {_ending(status)}")
        return Verdict(begun, _ending(status))

    def is_hung(self, hang_s: float) -> bool:
        """Return whether it has been at one state for longer than `hang_s` seconds."""
        begun = self._begun()
        if not self.batch or begun != self._looked[0]:
            self._looked = (begun, time.monotonic())
        return time.monotonic() - self._looked[1] > hang_s

    def kill(self) -> Verdict:
        """Kill it at what it does, and return how far it had come."""
        begun = max(self._begun(), 1)
        self.close()
        return Verdict(begun, "it hung")

    def close(self) -> None:
        """End it."""
        os.close(self._to)
        os.close(self._from)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._progress.close()

    def _begun(self) -> int:
        return int.from_bytes(self._progress[:_LENGTH_BYTES], "big")


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}"
    return f"it ended with {code}"


def _work(
    states: States,
    recover: Recover,
    to_read: int,
    from_write: int,
    progress: mmap.mmap,
    *,
    private: bool,
) -> None:
    """Be a worker, until the parent hangs up or a state is not survived."""
    try:
        _be_quiet()
        expect_openings()
        if private:
            mount_private(states.trace.place)
        place = Place(states.trace.place)
        while (message := _receive(to_read)) is not None:
            batch = msgspec.msgpack.decode(message, type=list[Work])
            words = None
            for begun, work in enumerate(batch, start=1):
                progress[:_LENGTH_BYTES] = begun.to_bytes(_LENGTH_BYTES, "big")
                state = State(
                    work.token, work.moment, work.kept, states.moments[work.moment].acknowledged
                )
                place.restore(states.image(state))
                words = _judged(recover, place.path, state)
                if words is not None:
                    break
            _send(from_write, msgspec.msgpack.encode(Verdict(begun, words)))
            if words is not None:
                break
    finally:
        os._exit(0)


def _judged(recover: Recover, place: Path, state: State) -> str | None:
    try:
        recover(place, state.acknowledged)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the state was not survived
        return f"{type(error).__name__}: {error}"
    return None


def _be_quiet() -> None:
    """Let deaths be verdicts and nothing else: no dump, no word on the terminal."""
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _send(fd: int, message: bytes) -> None:
    data = memoryview(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
    while data:
        data = data[os.write(fd, data) :]


def _receive(fd: int) -> bytes | None:
    """Return the next message, None if the other side is gone."""
    header = _read(fd, _LENGTH_BYTES)
    return None if header is None else _read(fd, int.from_bytes(header, "big"))


def _read(fd: int, length: int) -> bytes | None:
    data = b""
    while len(data) < length:
        piece = os.read(fd, length - len(data))
        if not piece:
            return None
        data += piece
    return data


class Pool:
    """Workers that judge batch after batch. Use as a context manager."""

    def __init__(
        self, states: States, recover: Recover, workers: int, hang_s: float, *, private: bool
    ) -> None:
        self._make: Callable[[], Worker] = partial(Worker, states, recover, private=private)
        self._hang_s = hang_s
        self._workers = [self._make() for _ in range(workers)]

    def idle(self) -> Worker | None:
        """Return a worker without work, None if all have some."""
        return next((worker for worker in self._workers if not worker.batch), None)

    def busy(self) -> bool:
        """Return whether any worker has work."""
        return any(worker.batch for worker in self._workers)

    def verdicts(self) -> Iterator[tuple[list[Work], Verdict]]:
        """Wait for a moment, and yield each batch that is done and what came of it."""
        busy = [worker for worker in self._workers if worker.batch]
        ready, _, _ = select.select(busy, (), (), _POLL_S)
        for worker in busy:
            if worker in ready:
                verdict = worker.verdict()
            elif worker.is_hung(self._hang_s):
                verdict = worker.kill()
            else:
                continue
            batch, worker.batch = worker.batch, []
            if verdict.words is not None:
                with contextlib.suppress(OSError):
                    worker.close()
                self._workers[self._workers.index(worker)] = self._make()
            yield batch, verdict

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()
