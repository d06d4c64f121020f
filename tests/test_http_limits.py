from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import peak_resident_bytes
from replicas import make_primary
from servers import OPERATE_TOKEN, READ_TOKEN, Server, server, token_file
from test_http_server import ask, pin, received, until

from bootledger.files import Files
from bootledger.replica.database import Database
from bootledger.replica.wire import Problem, decode_message

pytestmark = pytest.mark.xdist_group("http_limits")

MIB = 2**20
MOST_RESIDENT_BYTES = 200 * MIB
STRANGER = "127.0.0.2"
"""Where an attacker connects from; everybody else is 127.0.0.1."""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that knows tokens, with 16 MiB of noise to serve."""
    directory = tmp_path_factory.mktemp("limits")
    make_primary(directory / "primary", records=20)
    with Database.open(directory / "primary", Files(), name="primary") as primary:
        primary.write([(b"noise-%d" % n, bytes([n]) * MIB) for n in range(16)])
    with server(directory / "primary", "--tokens", token_file(directory)) as started:
        yield started
        assert_answers(started)
        assert peak_resident_bytes(started.pid) < MOST_RESIDENT_BYTES
        assert "Traceback" not in started.log.read_text()


def assert_answers(started: Server) -> None:
    """Assert that a good client still gets the right answer."""
    headers = {"Authorization": f"Bearer {READ_TOKEN}"}
    answer = ask(started.address, "GET", "/v1/primary", headers=headers)
    assert answer.status == 200
    assert json.loads(answer.data)["last_lsn"] == 36


def connect(started: Server, source: str = STRANGER) -> socket.socket:
    """Connect from an address of one's own."""
    return socket.create_connection(
        ("127.0.0.1", started.port), timeout=20, source_address=(source, 0)
    )


def spoken(started: Server, *parts: bytes) -> tuple[int, bytes]:
    """Send raw bytes, and return status and body of the one answer after which it is over."""
    with connect(started) as connection:
        for part in parts:
            with contextlib.suppress(ConnectionError):
                connection.sendall(part)
        head, _, body = received(connection).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


REQUEST = b"GET /v1/primary HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
JSON = b"Content-Type: application/json\r\n"
TOKEN = f"Authorization: Bearer {READ_TOKEN}\r\n".encode()


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ((b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n",), 414),
        ((b"GET /" + b"x" * 10 * MIB,), 414),
        ((REQUEST, b"X-Long: ", b"y" * 3000, b"\r\n\r\n"), 431),
        ((REQUEST, b"X-Long: ", b"y" * 10 * MIB), 431),
        ((REQUEST, b"n" * 3000, b": y\r\n\r\n"), 431),
        ((REQUEST, *(b"X-%d: y\r\n" % n for n in range(60)), b"\r\n"), 431),
        ((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",), 400),
        ((b"GET / HTTP/9.9\r\n\r\n",), 400),
        ((b"\0" * 100, b"\r\n\r\n"), 400),
        ((REQUEST, b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        ((REQUEST, b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"), 400),
        ((REQUEST, b"Content-Length: -1\r\n\r\n"), 400),
        ((REQUEST, b"Transfer-Encoding: gzip, chunked, x\r\n\r\n"), 400),
    ],
)
def test_what_is_no_request_or_too_long_is_told_so(
    attacked: Server, parts: tuple[bytes, ...], status: int
) -> None:
    """A problem, nothing quoted, and the connection is closed."""
    code, body = spoken(attacked, *parts)
    assert code == status
    told = decode_message(body, Problem)
    assert told.error == "InvalidValue"
    assert "yyy" not in told.detail


def test_a_body_is_short_and_quick(attacked: Server) -> None:
    """Too long as announced, too long as it comes, shorter than announced, compressed."""
    post = b"POST /v1/base-backups HTTP/1.1\r\nHost: p\r\nConnection: close\r\n" + TOKEN + JSON
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    for parts, status in (
        ((post, b"Content-Length: 70000\r\n\r\n"), 413),
        ((post, b"Content-Length: 99999999999999\r\n\r\n", b"x" * MIB), 413),
        ((post, b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 20), 413),
        ((post, b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400),
        ((post, b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"), 400),
    ):
        code, body = spoken(attacked, *parts)
        assert code == status, (parts[:2], body)
        assert decode_message(body, Problem).error == "InvalidValue"
    assert_answers(attacked)


def test_hundreds_of_half_open_connections_do_not_keep_a_good_client_out(
    attacked: Server,
) -> None:
    """Slow-loris: they drip, and meanwhile others are answered."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(attacked)) for _ in range(600)]
        for number, connection in enumerate(slow):
            connection.sendall(REQUEST + b"X-Slow: " if number % 2 else b"GET /v1")
        for _ in range(20):
            assert_answers(attacked)
            for connection in slow[:100]:
                connection.sendall(b"x")


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that has no patience, with 16 MiB to serve."""
    directory = tmp_path_factory.mktemp("hasty")
    make_primary(directory / "primary", records=20)
    with Database.open(directory / "primary", Files(), name="primary") as primary:
        primary.write([(b"noise-%d" % n, bytes([n]) * MIB) for n in range(16)])
    limits = {"head_s": 1.5, "body_s": 1.5, "stall_s": 1.5}
    with server(directory / "primary", limits=limits) as started:
        yield started
        assert_answers(started)


@contextlib.contextmanager
def dripping(connection: socket.socket, data: bytes) -> Iterator[None]:
    """Send a little again and again for the length of the block."""
    stop = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.1):
                connection.sendall(data)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_who_does_not_ask_in_time_is_dropped(hasty: Server) -> None:
    """The first head, silent or dripping, and a body: each has its time."""
    with connect(hasty) as silent, connect(hasty) as slow:
        slow.sendall(REQUEST)
        with dripping(slow, b"X: y\r\n"):
            assert [received(one) for one in (silent, slow)] == [b"", b""]
    post = (
        b"POST /v1/base-backups HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        + JSON
        + b"Content-Length: 9\r\n\r\nslow"
    )
    assert spoken(hasty, post)[0] == 408


def test_who_does_not_ask_again_in_time_is_dropped(tmp_path: Path) -> None:
    """An idle connection, and one whose next head drips."""
    make_primary(tmp_path / "primary", records=1)
    first = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with (
        server(tmp_path / "primary", limits={"idle_s": 1.5}) as started,
        connect(started) as silent,
        connect(started) as slow,
    ):
        silent.sendall(first)
        slow.sendall(first + b"GET /hea")
        with dripping(slow, b"l"):
            assert [received(one).count(b"alive") for one in (silent, slow)] == [1, 1]


def test_who_does_not_take_an_answer_is_dropped(hasty: Server) -> None:
    """From a file and from memory: the answer is cut off, and counted."""
    path = f"/v1/base-backups/{pin(hasty.address).token}/data.mdb"
    with contextlib.ExitStack() as stack:
        for asked in (path, "/v1/changes?after=20&limit=1000") * 2:
            connection = stack.enter_context(connect(hasty))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            connection.sendall(4 * f"GET {asked} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        until(lambda: "bootledger_stalled_readers_total 4.0" in metrics(hasty))


def metrics(started: Server) -> str:
    """Return what the server tells a monitor."""
    return ask(started.address, "GET", "/metrics").data.decode()


def test_one_address_cannot_take_all_connections(tmp_path: Path) -> None:
    """It gets seven eighths of them; beyond the last one an answer says when to come again."""
    make_primary(tmp_path / "primary", records=1)
    with (
        server(tmp_path / "primary", "--max-connections", 40) as started,
        contextlib.ExitStack() as s,
    ):
        mine = [s.enter_context(connect(started)) for _ in range(60)]
        until(lambda: count(started) >= 36)
        assert ask(started.address, "GET", "/v1/primary").status == 200
        assert count(started) <= 36
        others = [s.enter_context(connect(started, "127.0.0.3")) for _ in range(6)]
        until(lambda: crowded(started))
        assert len(mine) + len(others) == 66


def count(started: Server) -> int:
    """Return how many connections the server has, this one included."""
    return int(float(metrics(started).split("\nbootledger_connections ")[1].split()[0]))


def crowded(started: Server) -> bool:
    """Say whether a new client is turned away, in words."""
    with connect(started, "127.0.0.4") as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        connection.settimeout(0.5)
        try:
            head, _, body = received(connection).partition(b"\r\n\r\n")
        except TimeoutError:
            return False
    if b" 503 " not in head.split(b"\r\n")[0]:
        return False
    assert b"Retry-After: " in head
    assert decode_message(body, Problem).error == "SourceUnavailable"
    return True


def test_requests_sent_ahead_are_answered_in_order_but_not_hoarded(attacked: Server) -> None:
    """A few in a row are answered; who floods is dropped, and the server's memory stays."""
    path = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with connect(attacked) as connection:
        connection.sendall(path * 20 + path.replace(b"1\r\n", b"1\r\nConnection: close\r\n", 1))
        assert received(connection).count(b"HTTP/1.1 200 OK") == 21
    waiting = (
        b"GET /v1/changes?after=36&wait_ms=60000&slot=%b HTTP/1.1\r\nHost: 127.0.0.1\r\n" + TOKEN
    )
    long = path.replace(b"1\r\n", b"1\r\nX: " + b"y" * 2000 + b"\r\n", 1)
    operator = {"Authorization": f"Bearer {OPERATE_TOKEN}"}
    with connect(attacked) as many, connect(attacked) as large:
        many.sendall(waiting % b"many" + b"\r\n" + path * 1000)  # nothing more is read from it
        large.sendall(waiting % b"large" + b"\r\n")
        until(
            lambda: b'"large"' in ask(attacked.address, "GET", "/v1/slots", headers=operator).data
        )
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                large.sendall(long)
        assert received(large) == b""
        assert_answers(attacked)


def test_a_reader_that_stalls_costs_no_memory(attacked: Server) -> None:
    """Forty ask for 16 MiB each and read nothing; others go on."""
    headers = {"Authorization": f"Bearer {READ_TOKEN}"}
    pinned = json.loads(_pin(attacked, headers))
    path = f"/v1/base-backups/{pinned['token']}/data.mdb"
    with contextlib.ExitStack() as stack:
        for number in range(40):
            connection = stack.enter_context(connect(attacked))
            asked = path if number % 2 else "/v1/changes?after=0&limit=1000"
            connection.sendall(
                f"GET {asked} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode() + TOKEN + b"\r\n"
            )
        for _ in range(5):
            assert_answers(attacked)
        assert ask(attacked.address, "GET", path, headers=headers).status == 200
    operator = {"Authorization": f"Bearer {OPERATE_TOKEN}"}
    assert ask(attacked.address, "GET", "/metrics", headers=operator).status == 200


def _pin(started: Server, headers: dict[str, str]) -> bytes:
    body = json.dumps({"intent_id": "i", "generation": 1, "slot": "s"})
    while (
        told := ask(started.address, "POST", "/v1/base-backups", body=body, headers=headers)
    ).status == 202:
        pass
    return told.data
