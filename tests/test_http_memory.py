from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
from processes import peak_resident_bytes
from replicas import make_primary
from servers import server
from test_http_server import ask, until

from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.wire import decode_changes

pytestmark = pytest.mark.xdist_group("http_memory")

MIB = 2**20
VALUE_BYTES = 60 * MIB
MOST_RESIDENT_BYTES = 400 * MIB
"""One that is sent, and one that is read: from the map, as a record, as a value, as it travels."""


def test_large_changes_for_slow_readers_are_held_one_at_a_time(tmp_path: Path) -> None:
    """Eight take next to nothing of 60 MiB each; who comes again is answered when there is room."""
    make_primary(tmp_path / "primary", records=5)
    with Database.open(tmp_path / "primary", Files(), name="primary") as primary:
        for name in (b"one", b"two"):
            primary.write([(name, os.urandom(VALUE_BYTES))])
        expected = primary.changes(5, 1)
    limits = {"stall_s": 1.0}
    with server(tmp_path / "primary", limits=limits) as started, contextlib.ExitStack() as stack:
        for number in range(8):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", started.port)))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            path = f"/v1/changes?after={5 + number % 2}&limit=1000"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

        def is_answered() -> bool:
            answer = ask(started.address, "GET", "/v1/changes?after=5&limit=1000")
            assert answer.status in (200, 429)
            return answer.status == 200 and decode_changes(answer.data, 5) == expected

        until(is_answered)
        assert peak_resident_bytes(started.pid) < MOST_RESIDENT_BYTES
