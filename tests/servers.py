"""Real servers for tests: the command in a process of its own, killed and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trustme

_END_S = 30
_OTHER_LIMITS = """
import functools, json, sys
from bootledger.cli import main, serve
serve.Limits = functools.partial(serve.Limits, **json.loads(sys.argv.pop(1)))
main()
"""


@dataclass
class Server:
    """`bootledger serve` in a process; `address` is its URL, the same after `restart`.

    What it writes to standard error goes to the file `log`.
    """

    primary: Path
    options: tuple[object, ...]
    log: Path
    limits: dict[str, float] | None = None
    address: str = ""
    process: subprocess.Popen[str] = field(init=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def start(self) -> None:
        """Start it, and wait until it listens; on the port that it had before, if it had one."""
        listen = f"127.0.0.1:{self.port if self.address else 0}"
        command = [sys.executable, "-m", "bootledger", "serve"]
        if self.limits is not None:
            command = [sys.executable, "-c", _OTHER_LIMITS, json.dumps(self.limits), "serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(map(str, (*command, self.primary, "--listen", listen, *self.options))),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not start: {line}{self.log.read_text()}")
        self.address = line.split()[-1]

    def kill(self) -> None:
        """End it with SIGKILL. Harmless when repeated."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it with SIGTERM, and return its exit code."""
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill it, and start it again on the same port."""
        self.kill()
        self.start()

    def _end(self, number: int) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=_END_S)
        return self.process.returncode


@contextlib.contextmanager
def server(
    primary: Path, *options: object, limits: dict[str, float] | None = None
) -> Iterator[Server]:
    """Serve a primary on a free port of 127.0.0.1 for the length of the block.

    `limits` are fields of `Limits` that are to have other values: tests have less patience.
    """
    with tempfile.TemporaryDirectory(prefix="bootledger-server-") as directory:
        started = Server(primary, options, Path(directory) / "log", limits)
        started.start()
        try:
            yield started
        finally:
            started.kill()


@contextlib.contextmanager
def serving(primary: Path, *options: object) -> Iterator[str]:
    """As `server`, for those who want its address alone."""
    with server(primary, *options) as started:
        yield started.address


@dataclass(frozen=True)
class Certificates:
    """A certificate authority of its own, a server of it (127.0.0.1, localhost), and a client."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path

    @property
    def options(self) -> tuple[object, ...]:
        """The options of `serve` for TLS without certificates of clients."""
        return ("--tls-cert", self.server_certificate, "--tls-key", self.server_key)


def certificates(directory: Path) -> Certificates:
    """Make certificates in an existing directory; keys are for their owner alone."""
    authority = trustme.CA()
    issued = {
        "server": authority.issue_cert("127.0.0.1", "localhost"),
        "client": authority.issue_cert("replica-1"),
    }
    authority.cert_pem.write_to_path(directory / "ca.pem")
    for name, certificate in issued.items():
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        (directory / f"{name}.pem").write_bytes(chain)
        _write_secret(directory / f"{name}.key", certificate.private_key_pem.bytes())
    return Certificates(
        directory / "ca.pem",
        *(directory / f"{name}.{kind}" for name in ("server", "client") for kind in ("pem", "key")),
    )


READ_TOKEN = "read-token-of-the-tests-0123456789"
OPERATE_TOKEN = "operate-token-of-the-tests-0123456789"


def token_file(directory: Path) -> Path:
    """Write a server's file of tokens, with one of each scope: `READ_TOKEN`, `OPERATE_TOKEN`."""
    path = directory / "tokens"
    _write_secret(path, f"# scope token\nread {READ_TOKEN}\noperate {OPERATE_TOKEN}\n".encode())
    return path


def _write_secret(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
