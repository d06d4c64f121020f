from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import threading
import time
from asyncio.sslproto import SSLProtocol
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import urllib3
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from replicas import make_primary, write_more
from servers import (
    OPERATE_TOKEN,
    READ_TOKEN,
    Server,
    certificates,
    server,
    serving,
    token_file,
)
from typer.testing import CliRunner

from bootledger.basebackup.manifest import decode
from bootledger.cli.app import app
from bootledger.cli.errors import ExitCode
from bootledger.environment import Databases, Environment, Transaction
from bootledger.files import Files
from bootledger.primary import slot_tables
from bootledger.primary.http.connections import Doorman
from bootledger.primary.http.limits import Limits
from bootledger.primary.http.ranges import select
from bootledger.primary.slots import MAX_SLOTS, SLOTS_NAME, Slots
from bootledger.replica.database import Database
from bootledger.replica.wire import (
    Pinned,
    PrimaryInfo,
    Problem,
    Publishing,
    Slot,
    decode_changes,
    decode_message,
)

pytestmark = pytest.mark.xdist_group("http_server")

MIB = 2**20
RECORDS = 300


@dataclass
class Served:
    """A primary with some incompressible records, its server, and a base backup of it."""

    path: Path
    server: Server
    pinned: Pinned
    data: bytes
    manifest: bytes

    def ask(self, method: str, path: str, **how: object) -> urllib3.BaseHTTPResponse:
        return ask(self.server.address, method, path, **how)

    @property
    def base(self) -> str:
        return f"/v1/base-backups/{self.pinned.token}"


POOL = urllib3.PoolManager(retries=False, timeout=30)


def ask(address: str, method: str, path: str, **how: object) -> urllib3.BaseHTTPResponse:
    """Send one request, without another try; a body is JSON unless its headers say otherwise."""
    if "body" in how:
        headers = {"Content-Type": "application/json", **how.get("headers", {})}
        how = {**how, "headers": headers}
    return POOL.request(method, address + path, **how)


def problem(answer: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    """Return status and error of an answer that must be a problem."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, decode_message(answer.data, Problem).error


def pin(address: str, intent_id: str = "intent-1", slot: str = "replica-1") -> Pinned:
    """Ask for a base backup until it is there."""
    body = json.dumps({"intent_id": intent_id, "generation": 1, "slot": slot})
    while True:
        answer = ask(address, "POST", "/v1/base-backups", body=body)
        if answer.status == 200:
            return decode_message(answer.data, Pinned)
        assert answer.status == 202, answer.data
        assert int(answer.headers["Retry-After"]) > 0
        decode_message(answer.data, Publishing)


def files_of(primary: Path, pinned: Pinned) -> tuple[bytes, bytes]:
    """Return data and manifest of a base backup, from the primary's own disk."""
    for manifest in (primary / "basebackups").glob("*/manifest"):
        encoded = manifest.read_bytes()
        with decode(encoded) as decoded:
            if decoded.digest == pinned.manifest_digest:
                return (manifest.parent / "data.mdb").read_bytes(), encoded
    raise AssertionError("the base backup is not on the disk")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve one primary to all tests that change nothing of it."""
    path = tmp_path_factory.mktemp("http") / "primary"
    make_primary(path, records=RECORDS)
    with Database.open(path, Files(), name="primary") as primary:
        primary.write([(b"noise-%d" % n, os.urandom(MIB // 2)) for n in range(12)])
    with server(path) as started:
        pinned = pin(started.address)
        yield Served(path, started, pinned, *files_of(path, pinned))


def test_one_base_backup_or_slot_too_many_is_a_503_with_a_time_to_ask_again(
    tmp_path: Path,
) -> None:
    """A limit that others fill up is nobody's mistake: who asks is to come again later."""
    make_primary(tmp_path / "primary", records=1)
    Slots.open(tmp_path / "primary", Files()).close()
    opened = Environment.open(
        tmp_path / "primary" / SLOTS_NAME, slot_tables.TABLES, Files(), name="slots"
    )

    def fill(txn: Transaction, db: Databases) -> None:
        for n in range(MAX_SLOTS - 2):
            slot = Slot(name=f"slot-{n}", acknowledged_lsn=0, created_at_ms=1, active_at_ms=1)
            slot_tables.put_slot(txn, db, slot_tables.Stored(0, slot))

    with contextlib.closing(opened):
        opened.write(fill)
    with server(tmp_path / "primary", "--max-backups", 1, "--reuse-backups-for", 0) as started:
        pin(started.address)
        backup = json.dumps({"intent_id": "intent-2", "generation": 1, "slot": "replica-1"})
        for method, path, body in (
            ("POST", "/v1/base-backups", backup),
            ("PUT", "/v1/slots/another", '{"lsn": 0}'),
            ("PUT", "/v1/slots/one-more", '{"lsn": 0}'),
        ):
            answer = ask(started.address, method, path, body=body)
            if path != "/v1/slots/another":
                assert problem(answer) == (503, "SourceUnavailable")
                assert int(answer.headers["Retry-After"]) > 0


# --- what is served ----------------------------------------------------------------------------


def test_the_primary_says_who_it_is(served: Served) -> None:
    """Identity and last LSN are the database's own."""
    answer = served.ask("GET", "/v1/primary")
    info = decode_message(answer.data, PrimaryInfo)
    with Database.open(served.path, Files(), name="primary") as primary:
        assert info.identity == primary.identity()
        assert info.last_lsn >= RECORDS
        assert info.pruned_lsn == primary.pruned_lsn()


def test_a_pin_repeated_is_the_same_pin(served: Served) -> None:
    """Whoever heard no answer asks again and gets the same."""
    assert pin(served.server.address) == served.pinned


def test_data_and_manifest_are_served_byte_by_byte(served: Served) -> None:
    """Whole, with the root digest as strong tag; HEAD says the same without a body."""
    for name, expected in (("data.mdb", served.data), ("manifest", served.manifest)):
        answer = served.ask("GET", f"{served.base}/{name}")
        assert (answer.status, answer.data) == (200, expected)
        assert answer.headers["ETag"] == f'"{served.pinned.manifest_digest}"'
        head = served.ask("HEAD", f"{served.base}/{name}")
        assert (head.status, head.data) == (200, b"")
        assert head.headers["Content-Length"] == str(len(expected))


def test_every_chunk_comes_with_its_digest_plain_and_compressed(served: Served) -> None:
    """As a range and as a resource; what is compressed is equal once it is not; noise is not."""
    encodings = set()
    with decode(served.manifest) as manifest:
        assert manifest.chunk_count > 1
        for chunk in manifest.chunks():
            start, end = chunk.range
            expected = served.data[start:end]
            ranged = served.ask(
                "GET", f"{served.base}/data.mdb", headers={"Range": f"bytes={start}-{end - 1}"}
            )
            assert (ranged.status, ranged.data) == (206, expected)
            assert ranged.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(served.data)}"
            own = served.ask(
                "GET",
                f"{served.base}/chunks/{start}-{end - start}",
                headers={"Accept-Encoding": "gzip, zstd"},
                decode_content=False,
            )
            encoding = own.headers.get("Content-Encoding")
            encodings.add(encoding)
            raw = own.data
            if encoding == "zstd":
                assert len(raw) < len(expected)
                raw = zstandard.ZstdDecompressor().decompress(raw)
            assert raw == expected
            digest = f"crc32c={chunk.crc32c:08x}, blake3={chunk.digest.hex()}"
            assert ranged.headers["Bootledger-Digest"] == own.headers["Bootledger-Digest"] == digest
    plain = served.ask("GET", f"{served.base}/chunks/5-{MIB}")
    assert plain.data == served.data[5 : 5 + MIB]
    assert "Content-Encoding" not in plain.headers
    assert "Bootledger-Digest" not in plain.headers
    assert None in encodings, "noise was compressed"


def test_a_chunk_that_compresses_travels_compressed(tmp_path: Path) -> None:
    """Where a sample says that it pays, and the client can; never otherwise."""
    make_primary(tmp_path / "primary", records=2000)
    with serving(tmp_path / "primary") as address:
        pinned = pin(address)
        path = f"/v1/base-backups/{pinned.token}/chunks/0-{MIB}"
        data, _ = files_of(tmp_path / "primary", pinned)
        for accepted, travels in (("zstd", True), ("zstd;q=0", False), ("gzip", False)):
            answer = ask(
                address, "GET", path, headers={"Accept-Encoding": accepted}, decode_content=False
            )
            assert (answer.headers.get("Content-Encoding") == "zstd") == travels
            if travels:
                assert len(answer.data) < MIB // 4
                assert zstandard.ZstdDecompressor().decompress(answer.data) == data[:MIB]
            else:
                assert answer.data == data[:MIB]


@pytest.mark.parametrize(
    ("headers", "status", "start", "end"),
    [
        ({"Range": "bytes=0-0"}, 206, 0, 1),
        ({"Range": "bytes=10-19"}, 206, 10, 20),
        ({"Range": "bytes=-5"}, 206, -5, None),
        ({"Range": "bytes=4096-"}, 206, 4096, None),
        ({"Range": "bytes=0-99999999999999999999"}, 206, 0, None),
        ({"Range": "bytes=10-19", "If-Range": "{tag}"}, 206, 10, 20),
        ({"Range": "bytes=10-19", "If-Range": '"other"'}, 200, 0, None),
        ({"Range": "bytes=10-19", "If-Range": "W/{tag}"}, 200, 0, None),
        ({"Range": "bytes=10-19", "If-Match": "{tag}"}, 206, 10, 20),
        ({"Range": "bytes=10-19", "If-Match": '"a", {tag}'}, 206, 10, 20),
        ({"If-Match": "*"}, 200, 0, None),
        ({"Range": "lines=1-2"}, 200, 0, None),
        ({"Range": "bytes=10-19", "If-Match": '"other"'}, 412, 0, 0),
        ({"If-Match": "W/{tag}"}, 412, 0, 0),
        ({"If-None-Match": "{tag}"}, 304, 0, 0),
        ({"Range": "bytes=99999999999-"}, 416, 0, 0),
        ({"Range": "bytes=20-10"}, 416, 0, 0),
        ({"Range": "bytes=0-1,5-6"}, 416, 0, 0),
        ({"Range": "bytes=-0"}, 416, 0, 0),
        ({"Range": "bytes=-"}, 416, 0, 0),
        ({"Range": "bytes=+1-2"}, 416, 0, 0),
        ({"Range": "bytes=\u0661-\u0662"}, 416, 0, 0),
    ],
)
def test_conditions_and_ranges_are_what_http_says(
    served: Served, headers: dict[str, str], status: int, start: int, end: int | None
) -> None:
    """Status and bytes of every kind of condition, from the real server."""
    tag = f'"{served.pinned.manifest_digest}"'
    said = {name: value.format(tag=tag).encode() for name, value in headers.items()}
    answer = served.ask("GET", f"{served.base}/data.mdb", headers=said)
    assert answer.status == status
    assert answer.data == served.data[start:end]
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(served.data)}"


@given(
    first=st.integers(0, 120),
    last=st.integers(0, 120),
    size=st.integers(0, 100),
    suffix=st.booleans(),
)
def test_any_range_selects_what_a_slice_does(
    first: int, last: int, size: int, suffix: bool
) -> None:
    """Compared with Python's own slices of a file of that size."""
    content = bytes(size)
    wanted = f"bytes=-{last}" if suffix else f"bytes={first}-{last}"
    expected = content[max(0, size - last) :] if suffix else content[first : last + 1]
    selected = select({"Range": wanted}, '"tag"', size)
    assert selected.length_bytes == len(expected)
    assert (selected.status == 206) == bool(expected)
    if expected:
        assert selected.offset_bytes == (max(0, size - last) if suffix else first)


def test_chunks_outside_of_the_file_are_not_found(served: Served) -> None:
    """No byte of another length than was asked for."""
    size = len(served.data)
    for extent in (f"{size}-1", f"{size - 1}-2", f"0-{size + 1}", f"{2**64 - 1}-1"):
        assert problem(served.ask("GET", f"{served.base}/chunks/{extent}")) == (404, "InvalidValue")
    for extent in ("0-0", "1", "-1-1", "0-99999999999", "x-y", "0-1-2", "%30-1"):
        assert problem(served.ask("GET", f"{served.base}/chunks/{extent}")) == (400, "InvalidValue")


def test_changes_are_the_databases_own(served: Served) -> None:
    """From any LSN, at most as many as asked for."""
    with Database.open(served.path, Files(), name="primary") as primary:
        for after, limit in ((0, 7), (100, 1000), (RECORDS - 1, 1)):
            answer = served.ask("GET", f"/v1/changes?after={after}&limit={limit}")
            assert answer.status == 200
            expected = primary.changes(after, limit)
            assert decode_changes(answer.data, after) == expected


def test_who_waits_for_news_is_told_at_once_and_acknowledges(tmp_path: Path) -> None:
    """A request that is held open is answered by the write, for several waiters at once."""
    make_primary(tmp_path / "primary", records=10)
    answers: dict[int, urllib3.BaseHTTPResponse] = {}
    with serving(tmp_path / "primary") as address:

        def wait(number: int) -> None:
            path = f"/v1/changes?after=10&limit=5&wait_ms=60000&slot=n%20{number}"
            answers[number] = ask(address, "GET", path)

        empty = ask(address, "GET", "/v1/changes?after=10&wait_ms=1")
        assert decode_changes(empty.data, 10) == []
        waiting = [threading.Thread(target=wait, args=(number,)) for number in range(5)]
        for thread in waiting:
            thread.start()
        until(lambda: len(json.loads(ask(address, "GET", "/v1/slots").data)) == 5)
        assert not answers
        write_more(tmp_path / "primary", records=3)
        for thread in waiting:
            thread.join(timeout=30)
        assert [len(decode_changes(answers[n].data, 10)) for n in range(5)] == [3] * 5
        slots = msgspec.json.decode(ask(address, "GET", "/v1/slots").data, type=list[Slot])
        assert {slot.name: slot.acknowledged_lsn for slot in slots} == {
            f"n {n}": 10 for n in range(5)
        }


def test_a_replica_that_waits_for_news_is_not_idle(tmp_path: Path) -> None:
    """Its slot outlives its limit many times while one request is held open, and no longer."""
    make_primary(tmp_path / "primary", records=10)
    limits = {"enforce_every_s": 0.1}
    with server(tmp_path / "primary", "--slot-idle", "1.5", limits=limits) as started:

        def slot() -> Slot:
            answer = ask(started.address, "GET", "/v1/slots")
            return msgspec.json.decode(answer.data, type=list[Slot])[0]

        path = "/v1/changes?after=10&wait_ms=4000&slot=r"
        assert decode_changes(ask(started.address, "GET", path).data, 10) == []
        heard_of = slot()
        assert heard_of.invalid_because is None
        assert heard_of.active_at_ms - heard_of.created_at_ms >= 3000
        until(lambda: slot().invalid_because is not None)


def until(true: object) -> None:
    """Wait until something is so; the time is only to end a test that hangs."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_slots_are_made_listed_and_dropped(served: Served) -> None:
    """Names are any text, percent-encoded."""
    for name in ("a/b", "ü", "%", ".."):
        quoted = "".join(f"%{byte:02X}" for byte in name.encode())
        made = served.ask("PUT", f"/v1/slots/{quoted}", body=b'{"lsn": 5}')
        assert decode_message(made.data, Slot).name == name
        listed = msgspec.json.decode(served.ask("GET", "/v1/slots").data, type=list[Slot])
        assert name in {slot.name for slot in listed}
        assert served.ask("DELETE", f"/v1/slots/{quoted}").status == 204
        listed = msgspec.json.decode(served.ask("GET", "/v1/slots").data, type=list[Slot])
        assert name not in {slot.name for slot in listed}


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/v1/changes?after=99999999", None, (409, "DivergedHistory")),
        ("PUT", "/v1/slots/n", b'{"lsn": 99999999}', (409, "DivergedHistory")),
        ("GET", "/v1/changes?after=-1", None, (400, "InvalidValue")),
        ("GET", "/v1/changes?after=1&after=2", None, (400, "InvalidValue")),
        ("GET", "/v1/changes?after=1.0", None, (400, "InvalidValue")),
        ("GET", f"/v1/changes?after={2**64}", None, (400, "InvalidValue")),
        ("GET", "/v1/changes?after=%D9%A1", None, (400, "InvalidValue")),
        ("GET", "/v1/changes?after=%FF", None, (400, "InvalidValue")),
        ("GET", "/v1/changes", None, (400, "InvalidValue")),
        ("GET", "/v1/changes?after=1&limit=0", None, (400, "InvalidValue")),
        ("GET", "/v1/changes?after=1&wait_ms=60001", None, (400, "InvalidValue")),
        ("GET", "/v1/changes?after=1&slot=", None, (400, "InvalidValue")),
        ("GET", "/v1/changes?after=1&slot=a%00b", None, (400, "InvalidValue")),
        ("GET", "/v1/changes?after=1&slot=" + "x" * 256, None, (400, "InvalidValue")),
        ("PUT", "/v1/slots/%FF", b'{"lsn": 1}', (400, "InvalidValue")),
        ("PUT", "/v1/slots/n", b'{"lsn": 1.5}', (400, "InvalidValue")),
        ("PUT", "/v1/slots/n", b'{"lsn": -1}', (400, "InvalidValue")),
        ("PUT", "/v1/slots/n", b"", (400, "InvalidValue")),
        ("POST", "/v1/base-backups", b"[]", (400, "InvalidValue")),
        ("POST", "/v1/base-backups", b"\xff", (400, "InvalidValue")),
        (
            "POST",
            "/v1/base-backups",
            b'{"intent_id": "../x", "generation": 1, "slot": "s"}',
            (400, "InvalidValue"),
        ),
        ("GET", "/v1/base-backups/none.1/manifest", None, (404, "SnapshotLost")),
        ("GET", "/v1/base-backups/%2e%2e/data.mdb", None, (404, "SnapshotLost")),
        ("GET", "/v1/base-backups/..%2f..%2f/data.mdb", None, (404, "SnapshotLost")),
        ("GET", "/", None, (404, "InvalidValue")),
        ("GET", "/v1/base-backups/../primary", None, (404, "InvalidValue")),
        ("PATCH", "/v1/slots", None, (405, "InvalidValue")),
        ("POST", "/v1/primary", None, (405, "InvalidValue")),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    served: Served, method: str, path: str, body: bytes | None, expected: tuple[int, str]
) -> None:
    """Sent as it stands here: no client tidies the path up."""
    place = urlsplit(served.server.address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", "localhost")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body or b"")
        answer = connection.getresponse()
        told = decode_message(answer.read(), Problem)
    assert (answer.status, told.error) == expected


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Content-Type": "text/plain"}, 415),
        ("POST", {"Content-Type": ""}, 415),
        ("POST", {"Content-Type": "application/json; charset=utf-8"}, 200),
        ("POST", {"Origin": "http://127.0.0.1:80"}, 403),
        ("GET", {"Origin": "null"}, 403),
        ("GET", {"Host": "page.example"}, 403),
        ("GET", {"Host": "127.0.0.1.page.example:7433"}, 403),
        ("GET", {"Host": "[:7433"}, 403),
        ("GET", {"Host": "LocalHost:7433"}, 200),
        ("GET", {"Host": "[::1]:7433"}, 200),
    ],
)
def test_a_web_page_is_refused(
    served: Served, method: str, headers: dict[str, str], status: int
) -> None:
    """What a browser says of a page, or a page's own name, or a body that any page may send."""
    path, body = "/v1/primary", None
    if method == "POST":
        path = "/v1/base-backups"
        body = b'{"intent_id": "intent-1", "generation": 1, "slot": "replica-1"}'
    answer = served.ask(method, path, headers=headers, **({"body": body} if body else {}))
    assert answer.status == status, answer.data
    if status == 403:
        assert problem(answer)[1] == "NotAllowed"


def test_what_was_pruned_is_gone_and_a_released_backup_is_lost(tmp_path: Path) -> None:
    """410 leads to a new base backup, 404 to a new pin."""
    make_primary(tmp_path / "primary", records=50)
    with Database.open(tmp_path / "primary", Files(), name="primary") as primary:
        primary.prune(20)
    with serving(tmp_path / "primary") as address:
        assert problem(ask(address, "GET", "/v1/changes?after=19")) == (410, "LogWindowLost")
        assert problem(ask(address, "PUT", "/v1/slots/n", body=b'{"lsn": 3}')) == (
            410,
            "LogWindowLost",
        )
        path = f"/v1/base-backups/{pin(address).token}"
        assert len(json.loads(ask(address, "GET", "/v1/base-backups").data)) == 1
        for _ in range(2):
            assert ask(address, "DELETE", path).status == 204
        assert problem(ask(address, "GET", f"{path}/manifest")) == (404, "SnapshotLost")
        assert json.loads(ask(address, "GET", "/v1/base-backups").data) == []


def test_a_slot_that_is_too_far_behind_is_invalidated_and_told(tmp_path: Path) -> None:
    """By the server's own task: the replica hears why, the log and the metrics too."""
    primary = tmp_path / "primary"
    make_primary(primary, records=10)
    with serving(primary) as address:
        ask(address, "PUT", "/v1/slots/late", body=b'{"lsn": 3}')
    write_more(primary, records=100)
    with server(primary, "--slot-max-changes", 20, "--keep-changes", 5) as started:
        until(lambda: ask(started.address, "GET", "/v1/changes?after=3&slot=late").status != 200)
        answer = ask(started.address, "GET", "/v1/changes?after=3&slot=late")
        assert problem(answer) == (410, "SlotInvalid")
        metrics = ask(started.address, "GET", "/metrics").data.decode()
        assert "bootledger_slots_invalidated_total 1.0" in metrics
        assert 'bootledger_slot_valid{slot="late"} 0.0' in metrics
        assert "slot 'late' is invalid" in started.log.read_text()


def test_publishing_is_told_until_it_is_done(tmp_path: Path) -> None:
    """While another process publishes, 202; afterwards the same request gets its base backup."""
    primary = tmp_path / "primary"
    make_primary(primary, records=10)
    files = Files()
    files.make_directory(primary / "basebackups")
    with serving(primary) as address:
        body = json.dumps({"intent_id": "i", "generation": 1, "slot": "s"})
        with files.lock(primary / "basebackups" / "publishing.lock").acquire():
            told = ask(address, "POST", "/v1/base-backups", body=body)
            assert told.status == 202
            assert decode_message(told.data, Publishing)
            slots = msgspec.json.decode(ask(address, "GET", "/v1/slots").data, type=list[Slot])
            assert [slot.name for slot in slots] == ["s"], "the slot comes before the first byte"
        assert pin(address, "i", "s").lsn == 10


def test_health_and_metrics_are_told(served: Served) -> None:
    """What a monitor reads."""
    assert served.ask("GET", "/healthz").data == b"alive\n"
    assert served.ask("GET", "/readyz").data == b"ready\n"
    text = served.ask("GET", "/metrics").data.decode()
    found = dict(re.findall(r"^(bootledger_\w+)(?:\{[^}]*\})? ([0-9.e+]+)$", text, re.MULTILINE))
    assert float(found["bootledger_last_lsn"]) >= RECORDS
    assert float(found["bootledger_base_backups"]) == 1
    assert float(found["bootledger_connections"]) >= 1
    for name in ("sent_bytes_total", "log_bytes", "pruned_lsn", "publications", "slot_lag_changes"):
        assert f"bootledger_{name}" in found
    assert 'endpoint="GET /readyz",status="200"' in text


def test_a_database_that_left_its_place_is_not_ready(tmp_path: Path) -> None:
    """Alive, but not ready; every request says so."""
    make_primary(tmp_path / "primary", records=5)
    with serving(tmp_path / "primary") as address:
        (tmp_path / "primary" / "data.mdb").rename(tmp_path / "away")
        until(lambda: ask(address, "GET", "/readyz").status == 503)
        assert ask(address, "GET", "/healthz").status == 200
        answer = ask(address, "GET", "/v1/primary")
        assert problem(answer) == (503, "SourceUnavailable")
        assert int(answer.headers["Retry-After"]) > 0


# --- who may ask for what ----------------------------------------------------------------------

_EVERY = [
    ("GET", "/v1/primary", "read"),
    ("POST", "/v1/base-backups", "read"),
    ("GET", "/v1/base-backups/none.1/manifest", "read"),
    ("HEAD", "/v1/base-backups/none.1/data.mdb", "read"),
    ("GET", "/v1/base-backups/none.1/data.mdb", "read"),
    ("GET", "/v1/base-backups/none.1/chunks/0-1", "read"),
    ("DELETE", "/v1/base-backups/none.1", "read"),
    ("GET", "/v1/changes?after=0", "read"),
    ("PUT", "/v1/slots/n", "read"),
    ("GET", "/v1/slots", "operate"),
    ("DELETE", "/v1/slots/n", "operate"),
    ("GET", "/v1/base-backups", "operate"),
    ("GET", "/metrics", "operate"),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
]


def test_every_endpoint_asks_for_its_scope(tmp_path: Path) -> None:
    """All endpoints with no token, a wrong one, one to read and one to operate."""
    make_primary(tmp_path / "primary", records=5)
    with server(tmp_path / "primary", "--tokens", token_file(tmp_path)) as started:
        for method, path, scope in _EVERY:
            for words, allowed in (
                (None, {None}),
                ("Bearer", {None}),
                ("Bearer " + "x" * 40, {None}),
                (f"Basic {READ_TOKEN}", {None}),
                (f"Bearer {READ_TOKEN}x", {None}),
                (f"Bearer {READ_TOKEN}", {None, "read"}),
                (f"bearer {OPERATE_TOKEN}", {None, "read", "operate"}),
            ):
                headers = {} if words is None else {"Authorization": words}
                answer = ask(started.address, method, path, headers=headers)
                known = "read" in allowed
                expected = None if scope in allowed else 403 if known else 401
                refused = answer.status if answer.status in (401, 403) else None
                assert refused == expected, (method, path, words, answer.status)
                if refused == 401:
                    assert answer.headers["WWW-Authenticate"].startswith("Bearer")

        path = tmp_path / "tokens"
        path.write_text(f"read {'n' * 40}\n")
        started.process.send_signal(signal.SIGHUP)
        new = {"Authorization": f"Bearer {'n' * 40}"}
        until(lambda: ask(started.address, "GET", "/v1/primary", headers=new).status == 200)
        old = {"Authorization": f"Bearer {READ_TOKEN}"}
        assert ask(started.address, "GET", "/v1/primary", headers=old).status == 401


def test_tls_lets_in_who_is_known_and_nobody_else(tmp_path: Path) -> None:
    """The bytes are the same; a foreign CA, no client certificate, plain HTTP, old TLS: refused."""
    make_primary(tmp_path / "primary", records=2000)
    known = certificates(tmp_path)
    (tmp_path / "foreign").mkdir()
    foreign = certificates(tmp_path / "foreign")
    with server(
        tmp_path / "primary",
        *known.options,
        "--client-ca",
        known.ca,
        "--tokens",
        token_file(tmp_path),
    ) as started:
        assert started.address.startswith("https://")
        trusting = {
            "ca_certs": str(known.ca),
            "cert_file": str(known.client_certificate),
            "key_file": str(known.client_key),
        }
        headers = {"Authorization": f"Bearer {READ_TOKEN}"}

        def try_it(**how: object) -> urllib3.BaseHTTPResponse:
            with urllib3.PoolManager(retries=False, timeout=30, **how) as pool:
                return pool.request("GET", f"{started.address}/v1/primary", headers=headers)

        assert try_it(**trusting).status == 200
        for wrong in (
            {"ca_certs": str(foreign.ca)},
            {"ca_certs": str(known.ca)},
            trusting
            | {"cert_file": str(foreign.client_certificate), "key_file": str(foreign.client_key)},
        ):
            with pytest.raises((urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError)):
                try_it(**wrong)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(known.ca)
        old.load_cert_chain(known.client_certificate, known.client_key)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError)):
            try_it(ssl_context=old)
        with socket.create_connection(("127.0.0.1", started.port), timeout=30) as plain:
            plain.sendall(b"GET /v1/primary HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP/1.1 200" not in received(plain)

        with urllib3.PoolManager(retries=False, timeout=30, **trusting) as pool:
            body = json.dumps({"intent_id": "i", "generation": 1, "slot": "s"})
            told = pool.request(
                "POST",
                f"{started.address}/v1/base-backups",
                body=body,
                headers={**headers, "Content-Type": "application/json"},
            )
            pinned = decode_message(told.data, Pinned)
            path = f"{started.address}/v1/base-backups/{pinned.token}/data.mdb"
            data, _ = files_of(tmp_path / "primary", pinned)
            assert pool.request("GET", path, headers=headers).data == data
            part = pool.request("GET", path, headers=headers | {"Range": "bytes=777-1048999"})
            assert part.data == data[777:1049000]


def test_certificates_are_read_again_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """With the tokens, and the authority of clients: what does not fit leaves all as it was."""
    make_primary(tmp_path / "primary", records=1)
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
    new, old = certificates(tmp_path / "new"), certificates(tmp_path / "old")
    tokens = token_file(tmp_path)
    options = (*old.options, "--client-ca", old.ca, "--tokens", tokens)
    token = "n" * 40
    kept = {path: path.read_bytes() for path in astuple(old)}
    with server(tmp_path / "primary", *options) as started:

        def ask_as(cas: Path, certificate: Path, key: Path, token: str) -> int:
            trusting = {"ca_certs": str(cas), "cert_file": str(certificate), "key_file": str(key)}
            headers = {"Authorization": f"Bearer {token}"}
            with urllib3.PoolManager(retries=False, timeout=30, **trusting) as pool:
                return pool.request("GET", f"{started.address}/v1/primary", headers=headers).status

        (tmp_path / "was").mkdir()
        was = {path: tmp_path / "was" / path.name for path in kept}
        for path, data in kept.items():
            was[path].write_bytes(data)
        old_client = (was[old.ca], was[old.client_certificate], was[old.client_key])
        tokens.write_text(f"read {token}\n")
        old.server_certificate.write_bytes(new.server_certificate.read_bytes())  # not its key
        started.process.send_signal(signal.SIGHUP)
        until(lambda: "stay as they were" in started.log.read_text())
        assert ask_as(*old_client, READ_TOKEN) == 200
        old.server_key.write_bytes(new.server_key.read_bytes())
        old.ca.write_bytes(new.ca.read_bytes())
        started.process.send_signal(signal.SIGHUP)
        until(lambda: "were read again" in started.log.read_text())
        assert ask_as(new.ca, new.client_certificate, new.client_key, token) == 200
        with pytest.raises((urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError)):
            ask_as(new.ca, *old_client[1:], token)
        assert "Traceback" not in started.log.read_text()


def test_a_process_that_only_has_a_doorman_is_left_as_it_is() -> None:
    """What asyncio has for a whole process is changed where a process begins to serve."""
    before = SSLProtocol.max_size
    Doorman(Limits(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert SSLProtocol.max_size == before


def received(connection: socket.socket) -> bytes:
    """Return everything that comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


# --- the command -------------------------------------------------------------------------------


def test_what_cannot_be_served_safely_is_refused(tmp_path: Path) -> None:
    """Before anything listens: an exit code, and words that say what to do."""
    make_primary(tmp_path / "primary", records=1)
    tokens = token_file(tmp_path)
    known = certificates(tmp_path)
    (readable := tmp_path / "readable").write_text(f"read {'t' * 40}")
    readable.chmod(0o644)
    (short := tmp_path / "short").write_text("read hunter2")
    short.chmod(0o600)
    (other := tmp_path / "other").write_text(f"write {'t' * 40}")
    other.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        in_use = f"127.0.0.1:{taken.getsockname()[1]}"
        for options, says, code in (
            (("--listen", "0.0.0.0:0"), "--insecure", ExitCode.REFUSED),
            (("--listen", "[::]:0"), "--insecure", ExitCode.REFUSED),
            (("--listen", "0.0.0.0:0", "--tokens", tokens), "--insecure", ExitCode.REFUSED),
            (("--listen", "0.0.0.0:0", *known.options), "--insecure", ExitCode.REFUSED),
            (("--listen", "192.0.2.1:0", "--insecure"), "cannot listen", ExitCode.REFUSED),
            (("--listen", in_use), "is in use", ExitCode.TRY_AGAIN),
            (("--listen", "nonsense"), "HOST:PORT", 2),
            (("--listen", "127.0.0.1:99999"), "HOST:PORT", 2),
            (("--max-rate", "fast"), "no size", 2),
            (("--tokens", readable), "chmod 600", ExitCode.REFUSED),
            (("--tokens", short), "line 1", ExitCode.REFUSED),
            (("--tokens", other), "line 1", ExitCode.REFUSED),
            (("--tokens", tmp_path / "none"), "no file", ExitCode.REFUSED),
            (("--tls-cert", known.server_certificate), "its key", ExitCode.REFUSED),
            (("--client-ca", known.ca), "need TLS", ExitCode.REFUSED),
            (("--tls-cert", known.ca, "--tls-key", known.server_key), "with its key", 64),
        ):
            words = ["serve", str(tmp_path / "primary"), *map(str, options)]
            done = CliRunner().invoke(app, words)
            assert done.exit_code == code, (options, done.output)
            assert says in done.output, (options, done.output)
            assert "hunter2" not in done.output


def test_a_killed_server_is_back_with_everything_and_a_stopped_one_has_answered(
    tmp_path: Path,
) -> None:
    """Pins and slots outlive SIGKILL; SIGTERM answers who waits for news, and exits with 0."""
    make_primary(tmp_path / "primary", records=5)
    with server(tmp_path / "primary") as started:
        pinned = pin(started.address)
        before = started.address
        started.restart()
        assert started.address == before
        assert pin(started.address) == pinned
        answers = []

        def wait() -> None:
            path = "/v1/changes?after=5&wait_ms=60000&slot=n"
            answers.append(ask(started.address, "GET", path))

        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: len(json.loads(ask(started.address, "GET", "/v1/slots").data)) == 2)
        assert started.stop() == 0
        waiting.join(timeout=30)
        assert decode_changes(answers[0].data, 5) == []
        assert "Traceback" not in started.log.read_text()


def test_a_bandwidth_limit_holds_for_all_clients_together(tmp_path: Path) -> None:
    """Two clients at once take at least as long as the rate says: no clock can be too slow."""
    make_primary(tmp_path / "primary", records=1000)
    rate = 16_000_000
    with serving(tmp_path / "primary", "--max-rate", "16M") as address:
        pinned = pin(address)
        path = f"/v1/base-backups/{pinned.token}/data.mdb"
        began = time.monotonic()
        clients = [threading.Thread(target=ask, args=(address, "GET", path)) for _ in range(2)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        took_s = time.monotonic() - began
    assert took_s > (2 * pinned.size_bytes - rate / 4) / rate * 0.9
