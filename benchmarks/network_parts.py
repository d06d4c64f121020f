"""What the benchmarks of the network share: servers, the peer, replicas and their memory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec
from crc32c import crc32c

from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.wire import Pinned, PinRequest, Publishing, decode_message

MIB = 2**20
PROXY = Path(__file__).parents[1] / "tests" / "chaos_proxy.py"
BOOTLEDGER = (sys.executable, "-m", "bootledger")


def build(path: Path, mib: int, value_bytes: int = 64 * 1024) -> Path:
    """Create a primary with about so much of random values, and return its data file."""
    Database.create(path, Files())
    many = max(1, 4 * MIB // value_bytes)
    with Database.open(path, Files(), name="primary") as primary:
        for batch in range(mib // 4):
            values = os.urandom(many * value_bytes)
            primary.prune(
                primary.write(
                    [
                        (b"%d/%d" % (batch, at), values[at : at + value_bytes])
                        for at in range(0, len(values), value_bytes)
                    ]
                )
            )
    return path / "data.mdb"


@dataclass
class Memory:
    """The most that a process had resident, in bytes: in all, of its own, and of files."""

    pid: int
    peak: int = 0
    anonymous: int = 0
    of_files: int = 0

    def look(self) -> bool:
        """Look once; return whether the process was still there."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except OSError:
            return False
        found = {
            k: int(v.split()[0]) * 1024
            for k, _, v in (it.partition(":") for it in lines)
            if k in ("VmHWM", "RssAnon", "RssFile")
        }
        self.peak = max(self.peak, found.get("VmHWM", 0))
        self.anonymous = max(self.anonymous, found.get("RssAnon", 0))
        self.of_files = max(self.of_files, found.get("RssFile", 0))
        return True

    def __str__(self) -> str:
        return (
            f"{self.peak / MIB:.0f} MiB resident at most "
            f"(anonymous {self.anonymous / MIB:.0f}, of files {self.of_files / MIB:.0f})"
        )


@contextlib.contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Look at the memory of a process all the time, for the length of the block."""
    memory, ended = Memory(pid), threading.Event()

    def look() -> None:
        while memory.look() and not ended.wait(0.01):
            pass

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield memory
    finally:
        ended.set()
        looking.join()


@contextlib.contextmanager
def process(*command: str, ready: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server for the length of the block; yield it and its first line with `ready` in it."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if ready else None,
        stderr=subprocess.DEVNULL,  # a line for each request
        text=True,
    )
    try:
        line = ""
        while ready and child.stdout and ready not in line:
            if not (line := child.stdout.readline()):
                raise SystemExit(f"{command} ended with {child.wait()}")
        yield child, line
    finally:
        child.terminate()
        child.communicate(timeout=60)


@contextlib.contextmanager
def nginx(root: Path, work: Path) -> Iterator[tuple[str, int]]:
    """Serve a directory with nginx; yield its address and its pid."""
    with socket_of_nobody() as port:
        pass
    scratch = "".join(
        f"{each}_temp_path {work}/nginx-{each};"
        for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = work / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {work}/nginx.pid; error_log stderr;"
        f"events {{ worker_connections 512; }}"
        f"http {{ access_log off; sendfile on; tcp_nopush on; {scratch}"
        f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}"
    )
    with process("nginx", "-c", str(config), "-p", str(work)) as (child, _):
        time.sleep(0.5)
        yield f"127.0.0.1:{port}", child.pid


@contextlib.contextmanager
def socket_of_nobody() -> Iterator[int]:
    """Yield a port that is free when the block has ended."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        yield free.getsockname()[1]


@contextlib.contextmanager
def serving(primary: Path, *options: str) -> Iterator[tuple[str, Memory]]:
    """Serve a primary; yield its address and what memory the server takes."""
    command = (*BOOTLEDGER, "serve", str(primary), "--listen", "127.0.0.1:0", *options)
    with process(*command, ready="http://") as (child, line), watched(child.pid) as memory:
        address = line.split("http://")[1].split()[0].strip('"}/')
        yield address, memory


@contextlib.contextmanager
def held(address: str) -> Iterator[str]:
    """Pin a base backup for the length of the block, so that it is there to share."""
    asked = PinRequest(intent_id="benchmark", generation=1, slot="benchmark")
    pinned = None
    while not isinstance(pinned, Pinned):
        said = _request("POST", f"http://{address}/v1/base-backups", msgspec.json.encode(asked))
        pinned = decode_message(said, Pinned | Publishing)
        time.sleep(0.1)
    try:
        yield pinned.token
    finally:
        _request("DELETE", f"http://{address}/v1/base-backups/{pinned.token}")


def _request(method: str, url: str, body: bytes | None = None) -> bytes:
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(url, body, headers, method=method)) as answer:
        return answer.read()


@contextlib.contextmanager
def proxied(address: str, profile: str) -> Iterator[str]:
    """Run the proxy in front of an address; yield the address of the proxy."""
    command = (sys.executable, str(PROXY), address, "--profile", profile)
    with process(*command, ready="listening") as (_, line):
        yield json.loads(line)["listening"]


@dataclass
class Replica:
    """One run of `bootledger replicate`: how long it took, and its phases; what it said."""

    took_s: float
    memory: Memory
    phases_s: dict[str, float] = field(default_factory=dict)
    lines: list[dict[str, object]] = field(default_factory=list)


def replicate(address: str, target: Path, *options: str, node: str = "n") -> Replica:
    """Bring a new target up to date once, with the real command, and remove it unless asked."""
    command = [
        *(*BOOTLEDGER, "replicate", f"http://{address}", str(target), "--node", node),
        *("--once", "--json", *options),
    ]
    began_s = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    run = Replica(0, Memory(child.pid))
    phase, since_s = "start", began_s
    with watched(child.pid) as memory:
        run.memory = memory
        for line in child.stdout:
            said = json.loads(line)
            run.lines.append(said)
            if (now := said.get("phase")) and now != phase:
                at_s = time.perf_counter()
                run.phases_s[phase] = run.phases_s.get(phase, 0) + at_s - since_s
                phase, since_s = now, at_s
        code = child.wait()
    ended_s = time.perf_counter()
    run.phases_s[phase] = run.phases_s.get(phase, 0) + ended_s - since_s
    run.took_s = ended_s - began_s
    if code:
        raise SystemExit(f"{command} ended with {code}")
    return run


def cpu_s(*pids: int) -> float:
    """Return the CPU time of this process, of its children that have ended, and of others."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = sum(os.times()[:4])
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found += (int(fields[11]) + int(fields[12])) / ticks
    return found


def curl_and_crc(address: str, name: str, copy: Path) -> tuple[float, float]:
    """Download a file with curl, read it once for its CRC32C, and sync it.

    Returns how many seconds that took without the sync, and with it.
    """
    buffer, crc = bytearray(8 * MIB), 0
    began_s = time.perf_counter()
    subprocess.run(["curl", "-sfo", str(copy), f"http://{address}/{name}"], check=True)
    with copy.open("rb", buffering=0) as file:
        while length := file.readinto(buffer):
            crc = crc32c(memoryview(buffer)[:length], crc)
    read_s = time.perf_counter() - began_s
    subprocess.run(["sync", str(copy)], check=True)
    took_s = time.perf_counter() - began_s
    copy.unlink()
    return read_s, took_s


def remove(target: Path) -> None:
    """Remove a target, and let the disk come to rest."""
    shutil.rmtree(target)
    os.sync()
