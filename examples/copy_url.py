"""A file on a web server, downloaded by range into a copy that survives SIGKILL and a new version.

    python examples/copy_url.py              # against a server that it starts itself
    python examples/copy_url.py URL TARGET   # any server with ranges and strong ETags

The download is killed in the middle: the next start asks for what is missing. Then the server gets
another version in the middle of a download: no byte of the two is mixed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import shake_128
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from blake3 import blake3

from bootledger.files import Files
from bootledger.replica.http.access import Access
from bootledger.replica.readers import data_file, open_current
from bootledger.replica.sources.copying import copy
from bootledger.replica.sources.http_file import HttpFileSource
from bootledger.replica.sources.http_range import RangeReader
from bootledger.replica.sources.spool import SPOOL_NAME

CHUNK_BYTES = 2**16
CHUNKS = 20


def download(url: str, target: Path) -> int:
    """Bring the copy up to date with what the server has; return its generation."""
    reader = RangeReader(url, Access())
    with HttpFileSource(reader, target / SPOOL_NAME, Files(), chunk_bytes=CHUNK_BYTES) as source:
        return copy(source, target, "copy-1").generation


class Server(ThreadingHTTPServer):
    """Serves one file by range, as nginx or an object store would."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = b""
        self.answered = 0
        self.on_answer: Callable[[int], None] = lambda _: None

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"http://127.0.0.1:{self.server_address[1]}/large.bin"

    def handle_error(self, *_: object) -> None:
        """Say nothing of those who hung up: they were killed, or had read enough."""


class Handler(BaseHTTPRequestHandler):
    """Answers requests for a range of the file."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        """Send the range, or the whole file if it is another version than was asked for."""
        data = self.server.data
        etag = f'"{blake3(data).hexdigest()[:16]}"'
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = map(int, asked.groups()) if asked else (0, len(data) - 1)
        if asked and self.headers.get("If-Range") in (None, etag):
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        if len(data) > 1:
            self.server.answered += 1
            self.server.on_answer(self.server.answered)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def show(place: Path) -> None:
    """Download with a kill in the middle, then a newer version that comes in the middle."""
    target = place / "copy"
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        server.data = shake_128(b"first version").digest(CHUNKS * CHUNK_BYTES)
        command = [sys.executable, __file__, server.url, str(target)]
        child = subprocess.Popen(command)  # noqa: S603 - this very file
        server.on_answer = lambda count: child.kill() if count == CHUNKS // 2 else None
        child.wait()
        server.on_answer = lambda _: None
        print(f"killed with signal {-child.returncode} in the middle")
        generation = download(server.url, target)
        again = server.answered - CHUNKS
        print(f"generation {generation}: {max(again, 0)} of {CHUNKS} chunks asked for again")

        newer = shake_128(b"third version").digest(CHUNKS * CHUNK_BYTES)
        server.data, begun = server.data + b"second version", server.answered

        def change(count: int) -> None:
            if count == begun + 5:
                server.data = newer

        server.on_answer = change
        download(server.url, target)
        server.shutdown()
    with open_current(target) as directory:
        print("equal" if data_file(directory).read_bytes() == newer else "DIFFERENT")


if __name__ == "__main__":
    if sys.argv[1:]:
        download(sys.argv[1], Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as name:
            show(Path(name))
