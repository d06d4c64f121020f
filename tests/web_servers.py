"""Web servers for tests: nginx as it is, and a small one that lies in every way it is told to."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest


@contextmanager
def nginx(root: Path, state: Path) -> Iterator[str]:
    """Serve the files under `root` with nginx, and yield the address. Skips where there is none."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed: nothing here ran against a real web server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    state.mkdir()
    config = state / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {state}/pid; error_log {state}/error.log;\n"
        "events {} http { access_log off; "
        + "".join(
            f"{kind}_temp_path {state}/{kind}; "
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    )
    server = subprocess.Popen([program, "-c", config, "-p", state], stderr=subprocess.DEVNULL)
    try:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert server.poll() is None, (state / "error.log").read_text()
                time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@dataclass
class Lying:
    """What a server has, and in which way it lies. Changed while it serves."""

    data: bytes
    etag: str | None = '"v1"'
    last_modified: str | None = None
    date: str | None = None
    status: int | None = None
    """Answer with this status instead, and nothing else."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent as well, or instead of what would be sent under that name."""
    cut: int = 0
    """So many bytes of each answer are missing at its end."""
    ignores_if_range: bool = False
    ignores_range: bool = False
    failures: int = 0
    """So many requests in a row get a 503."""
    after: int = 0
    """Lies only once so many requests were answered truthfully."""
    silent_after: int | None = None
    """Says nothing once it has answered so many requests, until `enough`, for 20 s at most."""
    enough: Event = field(default_factory=Event)
    requests: list[str] = field(default_factory=list)
    """The Range of each request, in order."""
    seen: list[dict[str, str]] = field(default_factory=list)
    """All headers of each request."""


@contextmanager
def serving(what: Lying, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve one file, by TLS if there is a context, and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            answer(self, what)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None: ...  # who hangs up has read enough

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_address[1]}/big.bin"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, what: Lying) -> None:
    """Answer as any server would, but for the lies."""
    asked = request.headers.get("Range", "")
    what.requests.append(asked)
    what.seen.append(dict(request.headers.items()))
    lies = len(what.requests) > what.after
    if what.silent_after is not None and len(what.requests) > what.silent_after:
        what.enough.wait(20)
    if what.failures:
        what.failures -= 1
        return send(request, 503, {}, b"")
    if lies and what.status is not None:
        return send(request, what.status, dict(what.headers), b"")
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
    told = {"ETag": what.etag, "Last-Modified": what.last_modified, "Date": what.date}
    headers = {name: value for name, value in told.items() if value is not None}
    condition = request.headers.get("If-Range")
    fresh = condition in (None, what.etag, what.last_modified) or what.ignores_if_range
    if not match or not fresh or (lies and what.ignores_range):
        return send(request, 200, headers, what.data)
    first, last = int(match[1]), min(int(match[2]), len(what.data) - 1)
    if first >= len(what.data):
        return send(request, 416, {"Content-Range": f"bytes */{len(what.data)}"}, b"")
    headers["Content-Range"] = f"bytes {first}-{last}/{len(what.data)}"
    body = what.data[first : last + 1]
    if lies:
        headers.update(what.headers)
        if what.cut:
            headers["Content-Length"] = str(len(body))
            body = body[: -what.cut]
    return send(request, 206, headers, body)


def send(
    request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes
) -> None:
    """Send exactly that."""
    request.send_response_only(status)
    headers.setdefault("Content-Length", str(len(body)))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
    request.close_connection = headers["Content-Length"] != str(len(body))
