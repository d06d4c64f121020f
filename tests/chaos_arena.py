"""A primary that is written to, a replica behind a bad link, and what is done to both of them.

All of them are processes of their own: `bootledger serve`, the proxy, `bootledger replicate` with
one life after the other, and a writer that notes what it was acknowledged. What a life printed lies
in a file of its own, and outlives its SIGKILL.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import msgspec
import processes
from chaos_proxy import RunningProxy
from nursery import Command, Nursery
from replicas import NODE

from bootledger.errors import Refused, Unavailable
from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.operator import Operator
from bootledger.replica.readers import open_current
from bootledger.replica.target import LEDGER_NAME

TESTS = str(Path(__file__).parent)
IN_FLIGHT = 4
WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from chaos_arena import write_on
write_on(Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
"""


def once(number: int) -> tuple[bytes, bytes]:
    """Return the record that the writer writes once, and nobody ever again."""
    return b"once-%09d" % number, b"%d" % number * 20


def make_primary(path: Path, *, mib: int) -> None:
    """Create a primary with so much of values that do not compress, each of many pages."""
    Database.create(path, Files())
    chance = random.Random(11)
    with Database.open(path, Files(), name="primary") as database:
        for batch in range(mib):
            values = ((b"%d/%d" % (batch, i), chance.randbytes(64_000)) for i in range(16))
            database.prune(database.write(values))


def write_on(primary: Path, told: Path, pause_s: float) -> None:
    """Write for ever; what was acknowledged is noted at once, as a number and its LSN."""
    chance = random.Random(7)
    fd = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with Database.open(primary, Files(), name="primary") as database:
        for number in itertools.count():
            again = [
                (
                    b"again-%d" % chance.randrange(500),
                    chance.randbytes(chance.randrange(200)) if chance.random() < 0.9 else None,
                )
                for _ in range(chance.randrange(12))
            ]
            lsn = database.write([once(number), *again])
            os.write(fd, b"%d %d\n" % (number, lsn))
            time.sleep(pause_s)


class Life:
    """One life of the replica: its process, what it printed, and how it ended."""

    def __init__(self, process: Command) -> None:
        self.process = process
        self.killed = False

    def ended(self) -> bool:
        """Return whether it has ended."""
        return self.process.poll() is not None

    def kill(self) -> None:
        """Kill it, if it still lives."""
        if not self.ended():
            self.process.kill()
            self.killed = True

    def said(self) -> list[dict[str, object]]:
        """Return the whole lines that it printed."""
        lines = self.process.out.read_bytes().rpartition(b"\n")[0].splitlines()
        return [msgspec.json.decode(line, type=dict[str, object]) for line in lines]


@dataclass
class Arena:
    """Where it happens. `done` counts what was done to whom."""

    place: Path
    chance: random.Random
    nursery: Nursery
    profile: str
    serve_options: tuple[str, ...]
    chunk_bytes: int
    lives: list[Life] = field(default_factory=list)
    rivals: list[Life] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.primary, self.target = self.place / "primary", self.place / "replica"
        self.told = self.place / "told"
        self.lives_at = self.place / "lives"
        self.lives_at.mkdir()
        # Bound and never listening: the port stays the server's while it is dead.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._port.getsockname())

    # --- who takes part ---------------------------------------------------------------------

    @contextlib.contextmanager
    def everybody(self, pause_s: float) -> Iterator[None]:
        """Start all of them; nobody is left after the block."""
        self.start_server()
        self.proxy = RunningProxy(
            self.address, profile=self.profile, seed=self.chance.randrange(99)
        )
        self.writer = processes.start(WRITER, TESTS, self.primary, self.told, pause_s)
        self.start_replica()
        try:
            yield
        finally:
            self.lives[-1].kill()
            self.server.kill()
            self.writer.kill()
            self.writer.communicate(timeout=60)
            self.harm = self.proxy.end()
            self._port.close()

    def start_server(self) -> None:
        """Serve the primary, always at the same address."""
        argv = ["serve", str(self.primary), "--listen", self.address, *self.serve_options]
        argv += ["--chunk-bytes", str(self.chunk_bytes), "--enforce-every", "0.5"]
        out = self.place / "server.out"
        self.server = self.nursery.start(argv, out)

    def start_replica(self) -> None:
        """Begin another life of the replica."""
        argv = self._replicate("--follow", "--json", "--in-flight", str(IN_FLIGHT))
        out = self.lives_at / f"{len(self.lives):04d}.out"
        self.lives.append(Life(self.nursery.start(argv, out)))

    def _replicate(self, *options: str) -> list[str]:
        argv = ["replicate", f"http://{self.proxy.address}", str(self.target), "--node", NODE]
        return [*argv, "--ignore-forecast", "--poll-interval", "0.2", *options]

    # --- what happens to them ---------------------------------------------------------------

    def strike(self, blows: dict[str, float]) -> None:
        """Do something to somebody; whoever ended by itself is started again."""
        (blow,) = self.chance.choices(list(blows), list(blows.values()))
        getattr(self, blow)()
        self.done[blow] += 1
        self.see_to()

    def see_to(self) -> None:
        """Start the replica again if it ended by itself; the others must not have."""
        self.see_to_others()
        if self.lives[-1].ended():
            self.start_replica()

    def see_to_others(self) -> None:
        """See that server and writer are there."""
        assert self.server.poll() is None, self.server.err.read_text()
        assert self.writer.poll() is None, self.writer.communicate()

    def kill_replica(self) -> None:
        """Kill the replica, and start it again."""
        self.lives[-1].kill()
        self.start_replica()

    def kill_server(self) -> None:
        """Kill the server, and start it again after a while."""
        self.server.kill()
        time.sleep(self.chance.uniform(0, 0.3))
        self.start_server()

    def kill_both(self) -> None:
        """Kill both in one moment."""
        self.lives[-1].kill()
        self.kill_server()
        self.start_replica()

    def freeze(self) -> None:
        """Stop one of them for a while, wherever it is."""
        one = self.chance.choice((self.lives[-1].process, self.server))
        one.signal(signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.05, 0.5))
        one.signal(signal.SIGCONT)

    def drop_slot(self) -> None:
        """Be the operator who drops the slot: the log is held for nobody any more."""
        request = Request(f"http://{self.address}/v1/slots/{NODE}", method="DELETE")
        with contextlib.suppress(URLError, ConnectionError, TimeoutError):
            urlopen(request, timeout=5).close()
            self.done["slots dropped"] += 1

    def keep_down(self) -> None:
        """Let the replica be dead for longer than the log is kept."""
        self.lives[-1].kill()
        time.sleep(self.chance.uniform(3, 6))
        self.start_replica()

    def lose_window(self, patience_s: float = 60.0) -> None:
        """Let the replica be dead, without its slot, until the log has gone on without it."""
        self.lives[-1].kill()
        with Database.open(self.primary, Files(), name="primary") as primary:
            last_lsn = primary.last_lsn()
            deadline = time.monotonic() + patience_s
            while primary.pruned_lsn() <= last_lsn:
                self.drop_slot()
                self.see_to_others()
                assert time.monotonic() < deadline, "the log was not pruned"
                time.sleep(0.05)
        self.start_replica()

    def wait_for(self, event: str, count: int, patience_s: float) -> None:
        """Wait until this life of the replica has told of so many of these events."""
        deadline = time.monotonic() + patience_s
        while sum(it["event"] == event for it in self.lives[-1].said()) < count:
            self.see_to_others()
            assert time.monotonic() < deadline, self.tail()
            assert not self.lives[-1].ended(), self.tail()
            time.sleep(0.02)

    def interfere(self) -> None:
        """Be the operator who takes the bootstrap from its owner: fences it, or holds it."""
        with (
            contextlib.suppress(Refused, Unavailable),
            IntentLog.open(self.target / LEDGER_NAME, files=Files(), create=False) as log,
        ):
            operator = Operator(log, "ada")
            for intent in log.list_unfinished(NODE):
                if self.chance.random() < 0.5:
                    operator.adopt(intent.intent_id)
                else:
                    operator.hold(intent.intent_id, reason="wait")
                    operator.release(intent.intent_id)
                self.done["verbs"] += 1

    def rival(self) -> None:
        """Let a second process want the same target: one of them is told that the other has it."""
        argv = self._replicate("--once", "--json", "--give-up-after", "1")
        out = self.lives_at / f"rival-{len(self.rivals):04d}.out"
        self.rivals.append(Life(self.nursery.start(argv, out)))
        self.done[f"rival ended with {self.rivals[-1].process.wait()}"] += 1

    # --- how it ends ------------------------------------------------------------------------

    def calm(self, patience_s: float) -> float:
        """End the harm and the writing, wait until the replica is equal; return how long it took.

        The last life is stopped then. Raises if it does not become equal in time.
        """
        self.proxy.say("calm")
        self.writer.kill()
        err = self.writer.communicate(timeout=60)[1]
        assert err == ""
        began_s = time.monotonic()
        with Database.open(self.primary, Files(), name="primary") as primary:
            last_lsn = primary.last_lsn()
        while self.applied_lsn() != last_lsn:
            self.see_to_the_last()
            took_s = time.monotonic() - began_s
            assert took_s < patience_s, f"LSN {self.applied_lsn()}, not {last_lsn}: {self.tail()}"
            time.sleep(0.1)
        took_s = time.monotonic() - began_s
        self.lives[-1].process.signal(signal.SIGTERM)
        self.lives[-1].process.wait()
        return took_s

    def see_to_the_last(self) -> None:
        """Start again who ended by itself."""
        assert self.server.poll() is None, self.server.err.read_text()
        if self.lives[-1].ended():
            self.start_replica()

    def applied_lsn(self) -> int:
        """Return the LSN of what is in service at the target, 0 if nothing is."""
        with (
            contextlib.suppress(Refused, Unavailable),
            open_current(self.target) as directory,
            Database.open(directory, Files(), name="reader") as replica,
        ):
            return replica.last_lsn()
        return 0

    def tail(self) -> str:
        """Return the last words of everybody, for whoever has to find out."""
        last = self.lives[-1].process
        paths = (last.out, last.err, self.server.out, self.server.err)
        return "\n".join(path.read_text()[-2000:] for path in paths)

    def acknowledged(self) -> list[tuple[int, int]]:
        """Return what the writer was acknowledged: numbers and LSNs."""
        lines = self.told.read_bytes().rpartition(b"\n")[0].splitlines()
        return [(int(number), int(lsn)) for number, lsn in map(bytes.split, lines)]
