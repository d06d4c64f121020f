"""The command against an address: real processes on both sides, killed for real."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from keepers import last_lsn
from replicas import NODE, assert_equal, make_primary, write_more
from servers import READ_TOKEN, Server, certificates, server, token_file
from typer.testing import CliRunner

from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode
from bootledger.projections.dangling import report
from bootledger.replica.intent_log import IntentLog
from bootledger.replica.target import LEDGER_NAME
from bootledger.statemachine.events import Begin

LONG_S = 60


class Life:
    """One start of `bootledger replicate ADDRESS --json`; its output goes to a file."""

    def __init__(self, address: str, target: Path, *options: object) -> None:
        self._out = target.parent / f"out-{time.monotonic_ns()}"
        command = [sys.executable, "-m", "bootledger", "replicate", address, target, "--node", NODE]
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                list(map(str, [*command, "--json", "--poll-interval", "1", *options])),
                stdout=out,
                stderr=subprocess.DEVNULL,
            )

    @property
    def lines(self) -> list[dict[str, object]]:
        """Every whole line so far."""
        whole = self._out.read_bytes().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for(self, event: str, wanted: Callable[[dict[str, object]], bool] = bool) -> None:
        """Wait until it has printed such a line."""
        until_s = time.monotonic() + LONG_S
        while not any(line["event"] == event and wanted(line) for line in self.lines):
            assert time.monotonic() < until_s, self.lines[-3:]
            assert self.process.poll() is None, (self.process.returncode, self.lines[-3:])
            time.sleep(0.02)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it with SIGTERM; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=LONG_S)


@contextmanager
def living(address: str, target: Path, *options: object) -> Iterator[Life]:
    """Let a replica live for the length of the block."""
    life = Life(address, target, *options)
    try:
        yield life
    finally:
        life.kill()


def follow_to_the_end(life: Life, primary: Path) -> None:
    """Wait until it has what the primary has."""
    lsn = last_lsn(primary)
    life.wait_for("following", lambda line: line["lsn"] == lsn)


def test_killed_on_both_sides_a_replica_resumes_waits_follows_and_is_equal(tmp_path: Path) -> None:
    """SIGKILL in the copy, a primary that is gone and comes back; then the log, to the end."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary, records=3000, value_bytes=400)
    with server(primary) as served:
        port = free_port(served)
        with living(served.address, target, "--max-rate", "5M", "--in-flight", "2") as life:
            life.wait_for("staged")
            life.kill()
        served.kill()
        with living(served.address, target, "--metrics", f"127.0.0.1:{port}") as life:
            life.wait_for("waiting")
            with IntentLog.open(target / LEDGER_NAME) as log:
                (waits,) = report(log.list_unfinished())
            assert str(waits.cause).startswith("SourceUnavailable")
            assert waits.retry_at_ms is not None
            write_more(primary, seed=1)
            served.start()
            follow_to_the_end(life, primary)
            write_more(primary, seed=2)
            follow_to_the_end(life, primary)
            check_metrics(port, last_lsn(primary))
            assert life.stop() == 0
            assert life.lines[-1]["event"] == "outcome"
            assert life.lines[-1]["applied_lsn"] == last_lsn(primary)
    with IntentLog.open(target / LEDGER_NAME) as log:
        begun = [one for one in log.store.read(0, 1000) if isinstance(one.event, Begin)]
    assert len(begun) == 1
    assert_equal(primary, target)


def check_metrics(port: int, lsn: int) -> None:
    """Assert that the metrics are those of a replica that follows and has everything."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=LONG_S) as answer:
        lines = answer.read().decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    node = f'{{node="{NODE}"}}'
    assert float(found["bootledger_replica_last_applied_lsn" + node]) == lsn
    assert float(found["bootledger_replica_lag_changes" + node]) == 0
    assert float(found["bootledger_replica_connected" + node]) == 1
    assert float(found["bootledger_replica_attempts_total" + node]) > 1
    assert float(found["bootledger_replica_fetched_bytes_total" + node]) > 0


@pytest.mark.crash
def test_a_stop_is_obeyed_while_nobody_answers(tmp_path: Path) -> None:
    """SIGTERM to a start that has not even found out what it is to copy; nothing was made."""
    with living("http://127.0.0.1:1", tmp_path / "replica") as life:
        life.wait_for("waiting")
        assert life.stop() == ExitCode.TRY_AGAIN
    assert not (tmp_path / "replica").exists()


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_on_both_sides_it_ends_equal(tmp_path: Path, seed: int) -> None:
    """The long form: SIGKILL at random moments, writes and restarts in between."""
    chance = random.Random(seed)
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary, records=6000, value_bytes=400)
    with server(primary, "--keep-changes", 10) as served:
        for number in range(15):
            with living(served.address, target, "--max-rate", "9M") as life:
                time.sleep(chance.uniform(0.5, 3))
                write_more(primary, seed=number)
                if chance.random() < 0.5:
                    served.restart()
                    time.sleep(chance.uniform(0, 1))
                assert life.process.poll() is None, life.lines[-3:]
        with living(served.address, target) as life:
            follow_to_the_end(life, primary)
            assert life.stop() == 0
    assert_equal(primary, target)


@pytest.mark.crash
def test_with_tls_and_a_token_once_ends_up_to_date(tmp_path: Path) -> None:
    """A CA of its own, a client certificate, a token from a file; without the token, refused."""
    primary, target = tmp_path / "primary", tmp_path / "replica"
    make_primary(primary, records=50)
    known = certificates(tmp_path)
    (tmp_path / "token").write_text(READ_TOKEN + "\n")
    served = ("--tokens", token_file(tmp_path), "--client-ca", known.ca, *known.options)
    tls = ("--ca", known.ca, "--cert", known.client_certificate, "--key", known.client_key)
    with server(primary, *served) as it:
        assert it.address.startswith("https://")
        with living(it.address, target, "--once", *tls) as life:
            assert life.process.wait(timeout=LONG_S) == ExitCode.REFUSED
        assert not target.exists()
        with living(it.address, target, "--once", *tls, "--token-file", tmp_path / "token") as life:
            assert life.process.wait(timeout=LONG_S) == 0
        assert READ_TOKEN not in it.log.read_text()
    assert_equal(primary, target)


def replicate(*arguments: object) -> tuple[int, str]:
    """Run the command in this process, and return its exit code and what it said."""
    done = CliRunner().invoke(app, ["replicate", *map(str, arguments), "--node", NODE])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    "option",
    ["--token-file x", "--ca x", "--cert x", "--key x", "--mirror http://x", "--compression on"],
)
def test_an_option_for_addresses_is_refused_for_a_directory(tmp_path: Path, option: str) -> None:
    """By its name, before anything is made."""
    make_primary(tmp_path / "primary", records=1)
    words = option.split()
    code, said = replicate(tmp_path / "primary", tmp_path / "replica", *words)
    assert code == ExitCode.REFUSED
    assert f"{words[0]} make sense for an address only" in " ".join(said.split())
    assert not (tmp_path / "replica").exists()


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("ftp://127.0.0.1", [], "no address"),
        ("http://127.0.0.1:1", ["--ca", "x"], "https only"),
        ("http://127.0.0.1:1", ["--token-file", "/nowhere/token"], "there is no file"),
        ("http://127.0.0.1:1", ["--metrics", "nowhere"], "is no HOST:PORT"),
        ("http://127.0.0.1:1", ["--once", "--keep-changes", "9"], "while following only"),
        ("/nowhere", ["--keep-changes", "9"], "while following only"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, source: str, options: list[str], words: str
) -> None:
    """A wrong scheme, TLS without TLS, a token that is not there, a listener nowhere."""
    code, said = replicate(source, tmp_path / "replica", "--give-up-after", "0", *options)
    assert code in (ExitCode.REFUSED, 2)
    assert words in " ".join(said.split())
    assert not (tmp_path / "replica").exists()


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    """A file that holds more than a token is refused without a word of what is in it."""
    (tmp_path / "token").write_text("secret-one secret-two")
    token = ("--token-file", tmp_path / "token")
    code, said = replicate(
        "http://127.0.0.1:1", tmp_path / "replica", "--give-up-after", "0", *token
    )
    assert code == ExitCode.REFUSED
    assert "does not hold one token" in said
    assert "secret" not in said


def free_port(served: Server) -> int:
    """Return a port that nobody listens on, at this moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    assert port != served.port
    return port
