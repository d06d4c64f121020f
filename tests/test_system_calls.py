"""System calls that fail, and a SIGKILL at each: real processes under a real strace.

The life is a whole bootstrap: primary, base backup, chunks, ledger, changes and promotion. One of
its calls that modify the disk, or open what is there, is its last, or fails with EIO or ENOSPC. It
may end by that SIGKILL or with one of bootledger's own errors, or come to its end all the same; the
next life finishes.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from bootledger.errors import BootledgerError
from bootledger.replica.target import LEDGER_NAME
from bootledger.simulation.forks import fork
from bootledger.simulation.places import copy_place, fresh_place
from bootledger.simulation.powerloss.bootstrap import Bootstrap
from bootledger.simulation.powerloss.calls import calls
from bootledger.statemachine.events import Complete, Promote, SnapshotChunk
from bootledger.store.lmdb import LmdbEventStore

CALLS = (
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "fallocate"),
    *("fsync", "fdatasync", "mkdir", "rename", "link", "unlink", "unlinkat", "rmdir", "openat"),
)
FAULTS = {"SIGKILL": "signal=SIGKILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}
LIFE = Bootstrap(records=20)
HUNG_S = 60


class Where(NamedTuple):
    """The `number`-th call of `name` in its thread: LMDB copies with a second one."""

    name: str
    number: int
    of_directory: bool
    """Whether it makes a directory, or lists one."""


class Ending(NamedTuple):
    """How a process ended: killed by SIGKILL, with an error of ours (its words), or done."""

    killed: bool
    error: str
    acknowledged: list[bytes]


def lived(place: Path, *options: str) -> Ending:
    """Live in a process of its own under a strace with these options; anything unclean raises."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("NO SYSTEM CALL FAILED ON THIS MACHINE: strace is not installed")
    ready, go = os.pipe()
    hearing, saying = socket.socketpair()  # no call that it takes is among those that may fail
    child = fork()
    if not child:
        os.close(go)
        _live(place, ready, saying)
    os.close(ready)
    saying.close()
    command = [program, "-f", "-y", "-xx", *options, "-p", str(child)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        words = tracer.stderr.readline()
        if "attached" in words:
            os.write(go, b"!")
        os.close(go)
        with hearing, hearing.makefile("rb") as heard:
            lines = heard.read().splitlines()
        _, status = os.waitpid(child, 0)
        tracer.stderr.read()
    if "attached" not in words:
        pytest.skip(f"NO SYSTEM CALL FAILED ON THIS MACHINE: strace does not attach: {words}")
    told = {line[:1]: line[1:] for line in lines if line[:1] != b"A"}
    acknowledged = [line[1:] for line in lines if line[:1] == b"A"]
    assert b"T" not in told, b"\n".join(lines).decode()
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, -signal.SIGKILL}, f"it ended with {code}"
    return Ending(code != 0, told.get(b"E", b"").decode(), acknowledged)


def _live(place: Path, ready: int, saying: socket.socket) -> None:
    """Be the child: wait for the tracer, live, say how it ended, leave all else to the kernel."""

    def say(kind: bytes, data: bytes) -> None:
        saying.sendall(kind + data + b"\n")

    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HUNG_S)
        if os.read(ready, 1):
            LIFE.run(place, partial(say, b"A"))
    except BootledgerError as error:
        say(b"E", f"{type(error).__name__}: {error}".encode())
    except BaseException:  # noqa: BLE001 - whatever else it was is what must not be
        say(b"T", traceback.format_exc().encode())
    finally:
        os._exit(0)


class Prepared(NamedTuple):
    """What is there before any life, and the calls by which an undisturbed one touches it."""

    place: Path
    calls: list[Where]


@pytest.fixture(scope="module")
def prepared() -> Iterator[Prepared]:
    """Make a primary, and live once undisturbed on a copy of it."""
    with fresh_place() as before, fresh_place() as place, fresh_place() as scratch:
        LIFE.prepare(before)
        copy_place(before, place)
        told = scratch / "told"
        ending = lived(place, "-e", f"trace={','.join(CALLS)}", "-o", str(told))
        assert ending.acknowledged[-1:] == [b"done"], ending
        yield Prepared(before, list(touching(told, place)))


def touching(told: Path, place: Path) -> Iterator[Where]:
    """Yield the calls that open or modify what is in the place, in their order."""
    counted: Counter[tuple[int, str]] = Counter()
    for call in calls(told.read_text().splitlines()):
        counted[call.thread, call.name] += 1
        if in_hexadecimal(place) in call.text:
            lists = call.name == "openat" and call.flags(2) >= {"O_DIRECTORY", "O_NONBLOCK"}
            yield Where(call.name, counted[call.thread, call.name], lists or call.name == "mkdir")


def in_hexadecimal(place: Path) -> str:
    """Return what strace -xx calls a path."""
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(place))


def disturb(prepared: Prepared, where: Where, fault: str) -> Ending | None:
    """Live with one call that fails, then undisturbed, and judge; return how the first ended.

    None if it never came to that call: how often a life looks at what it has resident is a matter
    of time, and those calls count, too.
    """
    with fresh_place() as place, fresh_place() as scratch:
        copy_place(prepared.place, place)
        told = scratch / "told"
        inject = f"inject={where.name}:{FAULTS[fault]}:when={where.number}"
        ending = lived(place, "-e", f"trace={where.name}", "-e", inject, "-o", str(told))
        failed = "(INJECTED)" in told.read_text()
        if not ending.killed and not ending.error:
            assert ending.acknowledged[-1:] == [b"done"], ending
        LIFE.recover(place, ending.acknowledged)
        one_bootstrap_came_to_its_end(place)
    if ending.killed:
        assert fault == "SIGKILL"
        return ending
    assert failed or not ending.error
    return ending if failed else None


def one_bootstrap_came_to_its_end(place: Path) -> None:
    """Assert that the chunks and the promotion are of the first intent, which is complete.

    After it there may be another one, which found nothing to copy.
    """
    with closing(LmdbEventStore.open(place / "target" / LEDGER_NAME, create=False)) as store:
        events = store.read(0, 1000)
    first = events[0].intent_id
    of_first = [recorded.event for recorded in events if recorded.intent_id == first]
    assert isinstance(of_first[-1], Complete), of_first[-1]
    for recorded in events:
        if isinstance(recorded.event, SnapshotChunk | Promote):
            assert recorded.intent_id == first, recorded


@pytest.mark.parametrize("fault", FAULTS)
def test_a_life_that_is_disturbed_ends_clean_and_the_next_one_finishes(
    prepared: Prepared, fault: str
) -> None:
    """Five calls from the whole length of the life; the last of a step is the promotion's."""
    chosen = prepared.calls[11 :: len(prepared.calls) // 5]
    assert sum(disturb(prepared, where, fault) is not None for where in chosen) >= len(chosen) - 1


def test_a_directory_that_cannot_be_made_or_listed_is_told_as_an_error_of_ours(
    prepared: Prepared,
) -> None:
    """The library below makes one, too, and what it raises then has no name of ours."""
    for where in prepared.calls:
        if where.of_directory:
            disturb(prepared, where, "EIO")


@pytest.mark.crash
@pytest.mark.parametrize("fault", FAULTS)
def test_every_system_call_may_be_the_last_or_fail(prepared: Prepared, fault: str) -> None:
    """From the first lock to the last one, each call with each fault."""
    assert len(prepared.calls) >= 60
    disturbed = [disturb(prepared, where, fault) for where in prepared.calls]
    endings = [ending for ending in disturbed if ending is not None]
    assert len(endings) >= len(disturbed) - 3
    errors = Counter(ending.error.partition(":")[0] for ending in endings)
    if fault == "SIGKILL":
        assert all(ending.killed for ending in endings)
    else:
        expected = {"EIO": "Unavailable", "ENOSPC": "OutOfSpace"}[fault]
        assert errors[expected] > len(endings) // 2, errors
