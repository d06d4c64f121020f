"""The two ways to live a life that ends at a point: in this process, or in one that is killed.

Both leave the same on disk (a test compares them, byte by byte, at every point). In process is
faster; killing is needed where the simulated code keeps hold of things that no `World` can close.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from struct import Struct
from tempfile import TemporaryFile
from typing import IO, NamedTuple, NoReturn, TypeAlias

import msgspec

from bootledger.environment import close_all
from bootledger.errors import SimulatedCrash
from bootledger.simulation.crashing import KilledFiles, Where
from bootledger.simulation.facts import Fact, Passed, decode_fact, encode_fact
from bootledger.simulation.forks import fork
from bootledger.simulation.limits import hung, limit_process, live_limited
from bootledger.simulation.places import copy_place
from bootledger.simulation.raising import LifeFailed, place_of, words_of_error
from bootledger.simulation.scenario import Visit
from bootledger.simulation.world import World

_LENGTH = Struct(">I")
_FACT, _FAILED = b"F", b"X"
_ENDED_WELL, _ENDED_BADLY = 0, 70


class Life(NamedTuple):
    """One life, after the fact: what it said, where it died, and what it raised otherwise.

    `stopped_by` is the error by which it gave up because of a fault that was planted, and that it
    may give up for. A life with none of the three reached its end.
    """

    facts: list[Fact]
    died_at: str | None
    error: BaseException | None = None
    stopped_by: BaseException | None = None

    @property
    def points(self) -> tuple[str, ...]:
        """The tokens of the points that it passed, in their order."""
        return tuple(fact.token for fact in self.facts if isinstance(fact, Passed))

    @property
    def ended(self) -> bool:
        """Whether it reached its end."""
        return self.died_at is None and self.error is None and self.stopped_by is None


Engine: TypeAlias = Callable[[Visit, Path, int, int, Where | None], Life]
"""Lives `run` at a place as that life, with a seed, to die at a point. Raises nothing of its."""


def live_in_process(run: Visit, path: Path, life: int, seed: int, crash: Where | None) -> Life:
    """Live here; a death is a poisoned world."""
    return live_in(World(path, life=life, seed=seed, crash=crash), run)


def live_in(world: World, run: Visit) -> Life:
    """Live here, in a world made for it; one that lets others hear the facts keeps none."""
    error: BaseException | None = None
    try:
        live_limited(run, world)
        if world.files.died_at is not None:
            error = LifeFailed(f"went on living after it died at {world.files.died_at}")
    except SimulatedCrash as crashed:
        if world.files.died_at is None:
            error = LifeFailed(f"died of what nobody asked for: {crashed}")
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as raised:  # noqa: BLE001 - whatever a life raises is what it came to
        error = raised
    finally:
        world.bury()
    return Life(world.facts, world.files.died_at, error)


def live_and_copy(
    run: Visit, path: Path, life: int, seed: int, copies: Mapping[str, Path]
) -> dict[str, Life]:
    """Live here up to the last of the points that are named, and copy the place at each of them.

    A copy is what a process that is killed there leaves. Returns by the points the lives that would
    have ended so: not for a point that was not passed, and for none if the life itself went wrong.
    """
    facts: list[Fact] = []
    lives: dict[str, Life] = {}

    def hear(fact: Fact) -> None:
        facts.append(fact)
        if isinstance(fact, Passed) and fact.token in copies:
            copy_place(path, copies[fact.token])
            lives[fact.token] = Life(list(facts), fact.token)

    world = World(path, life=life, seed=seed, crash=list(copies)[-1], hear=hear)
    itself = live_in(world, run)
    return lives if itself.error is None else {}


def live_in_a_child(run: Visit, path: Path, life: int, seed: int, crash: Where | None) -> Life:
    """Live in a forked process, which kills itself at the point; its error is a `LifeFailed`."""
    close_all()  # LMDB's environments do not survive a fork
    facts: list[Fact] = []
    failed = None
    with TemporaryFile() as trace:
        reading, writing = os.pipe()
        pid = fork()
        if not pid:
            os.close(reading)
            _live_and_exit(partial(_live_limited, trace, run), path, life, seed, crash, writing)
        os.close(writing)
        try:
            with open(reading, "rb") as pipe:  # noqa: PTH123 - it is a descriptor
                while head := pipe.read(1 + _LENGTH.size):
                    data = pipe.read(_LENGTH.unpack(head[1:])[0])
                    if head[:1] == _FACT:
                        facts.append(decode_fact(data))
                    else:
                        failed = LifeFailed(**msgspec.msgpack.decode(data, type=dict[str, str]))
        except BaseException:  # an interrupt, too: no child outlives the wait for it
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGALRM:
            trace.seek(0)
            inside, _, _ = trace.read().decode().partition(f" in {_live_limited.__name__}")
            failed = hung(life, inside.rpartition("\n")[0])
    if failed is not None:
        return Life(facts, None, failed)
    if code == _ENDED_WELL:
        return Life(facts, None)
    died_at = next((f.token for f in reversed(facts) if isinstance(f, Passed)), None)
    if code != -signal.SIGKILL or died_at is None or crash is None:
        return Life(facts, None, LifeFailed(f"its process ended with {code}, killed by others"))
    return Life(facts, died_at)


def _live_limited(trace: IO[bytes], run: Visit, world: World) -> None:
    limit_process(trace)
    run(world)


def _live_and_exit(
    run: Visit, path: Path, life: int, seed: int, crash: Where | None, writing: int
) -> NoReturn:
    def send(kind: bytes, data: bytes) -> None:
        message = memoryview(kind + _LENGTH.pack(len(data)) + data)
        while message:
            message = message[os.write(writing, message) :]

    def hear(fact: Fact) -> None:
        send(_FACT, encode_fact(fact))

    code = _ENDED_BADLY
    try:
        run(World(path, life=life, seed=seed, crash=crash, files=KilledFiles, hear=hear))
        code = _ENDED_WELL
    except BaseException as error:  # noqa: BLE001 - whatever it is crosses to the parent, as words
        words = {
            "words": words_of_error(error),
            "at": place_of(error),
            "trace": traceback.format_exc(),
        }
        send(_FAILED, msgspec.msgpack.encode(words))
    finally:
        # Nothing of the parent's may run here: neither its `finally` blocks nor its exit handlers.
        os._exit(code)


ENGINES: dict[str, Engine] = {"inproc": live_in_process, "sigkill": live_in_a_child}
