from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import peak_resident_bytes
from replicas import make_primary
from request_fuzz import mutated, valid_requests
from servers import OPERATE_TOKEN, READ_TOKEN, Server, server, token_file
from test_http_server import ask

from bootledger.replica.wire import Pinned, decode_message

pytestmark = pytest.mark.xdist_group("fuzz_requests")

MOST_RESIDENT_BYTES = 200 * 2**20
BATCH = 500
AT_ONCE = 48
RECORDS = 20
LAST = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
"""Follows each damaged request, so that one that was whole after all ends the connection soon."""

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n")
_READ = {"Authorization": f"Bearer {READ_TOKEN}"}
_SECRETS = (READ_TOKEN.encode(), OPERATE_TOKEN.encode())
_OPEN_TO_ALL = (b"alive\n", b"ready\n")


@dataclass
class Attack:
    """A server, what is sent to it, and what it answered."""

    server: Server
    requests: Iterator[bytes]
    answers: Counter[int]

    def run(self, count: int) -> None:
        """Send that many damaged requests; after each batch a good client must be answered."""
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            asyncio.run(self._batch(list(itertools.islice(self.requests, size))))
            self._check_sound()
        assert self.answers.total() >= count * 0.5, "most were answered"
        assert not {status for status in self.answers if status in (500, 501, 502, 504)}
        assert "Traceback" not in self.server.log.read_text()

    async def _batch(self, requests: list[bytes]) -> None:
        waiting = iter(enumerate(requests))

        async def work() -> None:
            for number, request in waiting:
                answer = await self._spoken(number, request)
                self.answers.update(map(int, _STATUS.findall(answer)))
                check_secrets_kept(request, answer)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())

    async def _spoken(self, number: int, request: bytes) -> bytes:
        """Return everything that came within a moment: who sent half a request hears nothing."""
        source = (f"127.0.0.{2 + number % 200}", 0)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.server.port, local_addr=source
        )
        parts = []
        try:
            writer.write(request + LAST)
            async with asyncio.timeout(1.0):
                while part := await reader.read(65536):
                    parts.append(part)
        except (TimeoutError, ConnectionError):
            pass  # dropped, or still waiting for the rest
        writer.transport.abort()
        return b"".join(parts)

    def _check_sound(self) -> None:
        answer = ask(self.server.address, "GET", "/v1/primary", headers=_READ)
        assert answer.status == 200
        assert json.loads(answer.data)["last_lsn"] == RECORDS
        assert peak_resident_bytes(self.server.pid) < MOST_RESIDENT_BYTES


def check_secrets_kept(request: bytes, answer: bytes) -> None:
    """Assert that nobody without a token got anything, and nobody their token back."""
    for secret in _SECRETS:
        assert secret not in answer
    if not any(secret in request for secret in _SECRETS):
        for part in answer.split(b"HTTP/1.")[1:]:
            if part[2:5] in (b"200", b"202", b"204", b"206"):
                assert part.endswith(_OPEN_TO_ALL) or b"\r\nContent-Length: 6\r\n" in part, part


@pytest.fixture
def attack(tmp_path: Path) -> Iterator[Attack]:
    """Return a server that knows tokens and has a base backup."""
    make_primary(tmp_path / "primary", records=RECORDS)
    with server(tmp_path / "primary", "--tokens", token_file(tmp_path)) as started:
        body = json.dumps({"intent_id": "fuzz", "generation": 1, "slot": "fuzz"})
        while True:
            told = ask(started.address, "POST", "/v1/base-backups", body=body, headers=_READ)
            if told.status == 200:
                break
        pinned = decode_message(told.data, Pinned)
        valid = valid_requests(pinned.token, pinned.size_bytes)
        yield Attack(started, mutated(valid, seed=1), Counter())


def test_a_thousand_damaged_requests_leave_the_server_sound(attack: Attack) -> None:
    """No status 500, no traceback, no secret, flat memory, and others are answered."""
    attack.run(1000)


@pytest.mark.crash
def test_a_great_many_damaged_requests_leave_the_server_sound(
    attack: Attack, pytestconfig: pytest.Config
) -> None:
    """The same, `--fuzz-requests` of them."""
    attack.run(pytestconfig.getoption("fuzz_requests"))
    print(attack.answers, peak_resident_bytes(attack.server.pid))  # noqa: T201 - for who looks
