"""Answers that no primary gives: each is an error with a name, bounded in time and in bytes."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import zstandard
from processes import peak_resident_bytes
from replicas import make_primary
from speaking import Asked, Honest, Speaker, http_answer

from bootledger import errors
from bootledger.basebackup.manifest import Chunk, decode
from bootledger.errors import BootledgerError, SlotInvalid, SourceUnavailable
from bootledger.files import Files
from bootledger.primary.source import LocalSource
from bootledger.replica.http import retrying, transport
from bootledger.replica.http.source import HttpSource
from bootledger.replica.ports import CUT, Pin
from bootledger.replica.seal import SEAL_HEADER, seal_answer
from bootledger.replica.wire import PROBLEM_TYPE, Problem, Slot, encode_changes

Says = Callable[[Asked], "bytes | Iterable[bytes | None]"]


class Primary:
    """An honest primary in memory, with one base backup."""

    def __init__(self, path: Path) -> None:
        make_primary(path, records=300)
        local = LocalSource.open(path, Files(), chunk_bytes=16 * 1024)
        self.honest = Honest(local)
        self.pin: Pin = local.pin("intent", 1)
        self.chunk: Chunk = decode(local.read_manifest(self.pin.token, 0, 2**20)).chunk(3)


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Primary:
    """Return a primary whose answers are right until somebody changes them."""
    return Primary(tmp_path_factory.mktemp("hostile") / "primary")


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try once, and have little patience: what is tried again is another test's claim."""
    monkeypatch.setattr(retrying, "TRIES", 1)
    monkeypatch.setattr("bootledger.replica.http.fetching.TRIES", 1)
    monkeypatch.setattr(transport, "PATIENCE_S", 0.1)


@contextmanager
def hearing(says: Says, compression: str = "off") -> Iterator[HttpSource]:
    """Open a source that hears what `says` says."""
    with (
        Speaker(says) as speaker,
        HttpSource.open(speaker.url, slot="x", compression=compression) as source,
    ):
        yield source


def sealed(asked: Asked, status: int, body: bytes, **headers: str) -> bytes:
    """Return an answer that bears the right seal, whatever it says."""
    seal = seal_answer(asked.headers[SEAL_HEADER.lower()], status, body)
    kinds = {name.replace("_", "-"): value for name, value in headers.items()}
    return http_answer(status, body, {SEAL_HEADER: seal, **kinds})


OK = b"HTTP/1.1 200 OK\r\n"
NO_ANSWERS: dict[str, Says] = {
    "nothing": lambda asked: [None],
    "silence": lambda asked: _drip(b""),
    "a head that drips": lambda asked: _drip(OK + b"Content-Length: 3\r\n\r\nabc"),
    "a body that drips": lambda asked: [OK + b"Content-Length: 60000\r\n\r\n", *_drip(b"x" * 60)],
    "a head that is cut": lambda asked: [OK + b"Content-Le", None],
    "a body that is cut": lambda asked: [OK + b"Content-Length: 30\r\n\r\nabc", None],
    "no HTTP": lambda asked: [b"SSH-2.0-OpenSSH_9\r\n\r\n", None],
    "continue for ever": lambda asked: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "headers for ever": lambda asked: itertools.chain([OK], itertools.repeat(b"a: b\r\n" * 100)),
    "a line for ever": lambda asked: itertools.chain([OK], itertools.repeat(b"a" * 10_000)),
    "zeros for ever": lambda asked: itertools.repeat(b"\0" * 10_000),
    "no length": lambda asked: [OK + b"\r\n{}", None],
    "no length and no end": lambda asked: itertools.chain([OK + b"\r\n"], itertools.repeat(b"x")),
    "chunks": lambda asked: OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "too long": lambda asked: OK + b"Content-Length: 70000\r\n\r\n",
    "huge": lambda asked: OK + b"Content-Length: 18446744073709551616\r\n\r\n",
    "negative": lambda asked: OK + b"Content-Length: -5\r\n\r\n",
    "two lengths": lambda asked: OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a head that is no head": lambda asked: OK + b"what\r\nContent-Length: 2\r\n\r\n{}",
    "another protocol": lambda asked: b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a web page": lambda asked: http_answer(200, b"<html>", {"Content-Type": "text/html"}),
    "a proxy's error": lambda asked: http_answer(502, b"<html>", {"Content-Type": "text/html"}),
    "a proxy's 404": lambda asked: http_answer(404, b"gone", {}),
    "another's refusal": lambda asked: http_answer(401, b"", {"WWW-Authenticate": "Basic"}),
    "no seal": lambda asked: http_answer(
        404, b'{"error":"SnapshotLost","detail":"x"}', {"Content-Type": PROBLEM_TYPE}
    ),
    "a redirection": lambda asked: sealed(asked, 302, b"", Location="http://127.0.0.1:1/"),
    "JSON of another kind": lambda asked: sealed(
        asked, 200, b'{"last_lsn":-1}', Content_Type="application/json"
    ),
    "broken JSON": lambda asked: sealed(asked, 200, b"{", Content_Type="application/json"),
    "JSON as text": lambda asked: sealed(asked, 200, b"{}", Content_Type="text/plain"),
}


def _drip(data: bytes) -> Iterator[bytes]:
    for each in data:
        time.sleep(0.02)
        yield bytes([each])
    time.sleep(0.5)
    yield b""


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_what_is_no_answer_is_an_unavailable_source(primary: Primary, what: str) -> None:
    """Every method says that the source is not available, within the time that it may take."""
    before = peak_resident_bytes(os.getpid())
    with hearing(NO_ANSWERS[what]) as source:
        for call in (
            source.info,
            lambda: source.pin("intent", 1),
            lambda: source.read_manifest(primary.pin.token, 0, 100),
            lambda: source.fetch_chunk(primary.pin.token, primary.chunk),
            lambda: source.changes(0, 1),
            lambda: source.release(primary.pin.token),
        ):
            with pytest.raises(SourceUnavailable) as told:
                call()
            assert type(told.value) is SourceUnavailable
            assert str(told.value).startswith("http://127.0.0.1:")
    assert peak_resident_bytes(os.getpid()) - before < 50 * 2**20


@pytest.mark.parametrize("at_once_bytes", [0, 12, -100])
def test_a_right_answer_that_drips_is_given_up(primary: Primary, at_once_bytes: int) -> None:
    """Bytes that keep coming, one by one, do not hold a worker, in the head or in the body."""

    def says(asked: Asked) -> Iterable[bytes]:
        answer = primary.honest(asked)
        return itertools.chain([answer[:at_once_bytes]], _drip(answer[at_once_bytes:]))

    with hearing(says) as source, pytest.raises(SourceUnavailable, match="in time"):
        source.info()


def test_nobody_at_the_address() -> None:
    """A port where nobody listens, and a name that nobody has: each in words of its own."""
    with Speaker(lambda asked: b"") as gone:
        pass
    for url, words in (
        (gone.url, "it is refused"),
        ("http://nobody.invalid", "the name is not found"),
    ):
        with HttpSource.open(url, slot="x") as source, pytest.raises(SourceUnavailable) as told:
            source.info()
        assert f"no connection: {words}" in str(told.value)


@pytest.mark.parametrize(("reset", "words"), [(True, "was reset"), (False, "was closed")])
def test_a_connection_that_ends_before_the_answer_says_how(*, reset: bool, words: str) -> None:
    """Thrown away by whoever is in between, or closed by whoever listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with HttpSource.open(url, slot="x") as source, pytest.raises(SourceUnavailable) as told:
            source.info()
        thread.join()
    assert f"the connection broke: it {words}" in str(told.value)


def test_a_redirection_is_not_followed(primary: Primary) -> None:
    """Nobody else hears of a request, or of the token in it."""
    heard: list[Asked] = []

    def hear(asked: Asked) -> bytes:
        heard.append(asked)
        return b""

    with (
        Speaker(hear) as elsewhere,
        hearing(lambda asked: sealed(asked, 307, b"", Location=elsewhere.url)) as source,
        pytest.raises(SourceUnavailable, match="307"),
    ):
        source.info()
    assert heard == []


def test_an_old_answer_is_not_taken_for_a_new_one(primary: Primary) -> None:
    """An answer that comes again to a later request of the same words is not believed."""
    first: list[bytes] = []

    def repeat(asked: Asked) -> bytes:
        first.append(primary.honest(asked))
        return first[0]

    with hearing(repeat) as source:
        source.info()
        with pytest.raises(SourceUnavailable, match="seal"):
            source.info()


PROBLEMS = {
    "NotAllowed": errors.NotAllowed,
    "SnapshotLost": errors.SnapshotLost,
    "LogWindowLost": errors.LogWindowLost,
    "SlotInvalid": errors.SlotInvalid,
    "DivergedHistory": errors.DivergedHistory,
    "OlderTimeline": errors.OlderTimeline,
    "InvalidValue": errors.InvalidValue,
    "OutOfSpace": errors.OutOfSpace,
    "CorruptChunk": errors.CorruptChunk,
    "SourceUnavailable": SourceUnavailable,
    "Fenced": SourceUnavailable,  # the primary's own affairs
    "KeyboardInterrupt": SourceUnavailable,
    "BootledgerError": SourceUnavailable,
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_the_primary_says_is_what_is_raised(name: str) -> None:
    """Its errors are the replica's; it cannot put others, or control characters, into its mouth."""
    problem = Problem(error=name, detail="\x1b[31mred\n" + "x" * 5000, hint="do \x07 this")
    body = msgspec.json.encode(problem)
    with (
        hearing(lambda asked: sealed(asked, 409, body, Content_Type=PROBLEM_TYPE)) as source,
        pytest.raises(BootledgerError) as told,
    ):
        source.changes(0, 1)
    assert type(told.value) is PROBLEMS[name]
    assert (str(told.value) + told.value.hint).isprintable()
    assert len(str(told.value)) < 1024


def _bomb(size: int) -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(size))


def _unsized(data: bytes) -> bytes:
    pieces = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return pieces.compress(data) + pieces.flush()


BAD_CHUNKS: dict[str, tuple[bytes, str]] = {
    "a bomb": (_bomb(2**27), "zstd"),
    "a bomb of no known size": (_unsized(bytes(2**26)), "zstd"),
    "too little": (_bomb(100), "zstd"),
    "two frames": (_bomb(16 * 1024) + _bomb(1), "zstd"),
    "no frame": (b"x" * 100, "zstd"),
    "half a frame": (_bomb(16 * 1024)[:-3], "zstd"),
    "nothing": (b"", "zstd"),
    "what was not asked for": (b"x" * 100, "gzip"),
}


@pytest.mark.parametrize("what", BAD_CHUNKS)
def test_a_compressed_chunk_is_no_bomb(primary: Primary, what: str) -> None:
    """No more than the chunk is decompressed, and what was wrong with it is told of once."""
    body, encoding = BAD_CHUNKS[what]
    before = peak_resident_bytes(os.getpid())
    rejected: list[str] = []
    with (
        hearing(lambda asked: sealed(asked, 200, body, Content_Encoding=encoding), "on") as source,
        pytest.raises(SourceUnavailable),
    ):
        source.fetch_chunk(primary.pin.token, primary.chunk, lambda *told: rejected.append(told[2]))
    assert len(rejected) == 1
    assert peak_resident_bytes(os.getpid()) - before < 50 * 2**20


def test_a_chunk_of_which_a_part_came_was_cut_and_not_wrong(primary: Primary) -> None:
    """The connection ends one byte early: that is what the reason says."""
    rejected: list[str] = []
    with (
        hearing(lambda asked: sealed(asked, 200, b"x" * 100)[:-1], "on") as source,
        pytest.raises(SourceUnavailable),
    ):
        source.fetch_chunk(primary.pin.token, primary.chunk, lambda *told: rejected.append(told[2]))
    assert rejected
    assert all(reason.startswith(CUT) for reason in rejected)


BAD_RANGES = {
    "elsewhere": (100, "bytes 1-100/9999999"),
    "another length": (99, "bytes 0-98/9999999"),
    "another size": (100, "bytes 0-99/100"),
    "the whole": (100, ""),
    "two": (100, "multipart/byteranges"),
    "no number": (100, "bytes 0-99/*"),
}


@pytest.mark.parametrize("what", BAD_RANGES)
def test_another_part_of_the_file_is_not_taken(primary: Primary, what: str) -> None:
    """What comes must be the very bytes that were asked for, of a file of the known size."""
    length, span = BAD_RANGES[what]

    def says(asked: Asked) -> bytes:
        if asked.method == "POST":
            return primary.honest(asked)
        return sealed(asked, 206, bytes(length), Content_Range=span)

    with hearing(says) as source:
        pin = source.pin("intent", 1)
        with pytest.raises(SourceUnavailable):
            source.read_chunk(pin.token, 0, 100)


def test_changes_that_do_not_follow_are_not_applied(primary: Primary) -> None:
    """A gap, a repetition, more than asked for, or damage: none of these changes is returned."""
    right = primary.honest.source.changes(0, 6)
    kind = "application/vnd.bootledger.changes"
    for body in (
        encode_changes(right[1:]),
        encode_changes([right[0], *right[2:]]),
        encode_changes([right[0], *right]),
        encode_changes(right),
        encode_changes(right[:5])[:-1] + b"?",
        encode_changes(right[:5]) + b"?",
    ):

        def says(asked: Asked, body: bytes = body) -> bytes:
            if asked.method == "PUT":
                return primary.honest(asked)
            return sealed(asked, 200, body, Content_Type=kind)

        with hearing(says) as source, pytest.raises(SourceUnavailable):
            source.changes(0, 5)


def test_an_invalid_slot_is_made_valid_once(primary: Primary) -> None:
    """Changes that are there still go on; a slot that stays invalid is a lost log window."""
    problem = msgspec.json.encode(Problem(error="SlotInvalid", detail="idle"))
    asked_for: list[str] = []

    def says(asked: Asked, often: int) -> bytes:
        asked_for.append(asked.method)
        if asked.method == "GET" and asked_for.count("GET") <= often:
            return sealed(asked, 410, problem, Content_Type=PROBLEM_TYPE)
        return primary.honest(asked)

    with hearing(lambda asked: says(asked, 1)) as source:
        assert source.changes(0, 5) == primary.honest.source.changes(0, 5)
    assert asked_for == ["PUT", "GET", "PUT", "GET"]
    asked_for.clear()
    with hearing(lambda asked: says(asked, 9)) as source, pytest.raises(SlotInvalid, match="idle"):
        source.changes(0, 5)
    slot = Slot(
        name="x", acknowledged_lsn=0, created_at_ms=1, active_at_ms=1, invalid_because="too old"
    )
    body = msgspec.json.encode(slot)
    with (
        hearing(lambda asked: sealed(asked, 200, body, Content_Type="application/json")) as source,
        pytest.raises(SlotInvalid, match="too old"),
    ):
        source.changes(0, 5)


def sleepless(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no sleep of this thread take time; return how long each was to be."""
    slept: list[float] = []
    here, sleep = threading.get_ident(), time.sleep

    def sleeping(for_s: float) -> None:
        if threading.get_ident() == here:
            slept.append(for_s)
        else:
            sleep(for_s)

    monkeypatch.setattr(time, "sleep", sleeping)
    return slept


def test_a_busy_primary_is_asked_again_when_it_says(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Retry-After` is kept to, within reason, and what is answered then is returned."""
    slept = sleepless(monkeypatch)
    monkeypatch.setattr(retrying, "TRIES", 5)
    problem = msgspec.json.encode(Problem(error="SourceUnavailable", detail="busy"))
    waits = ["2", "86400", "never"]

    def says(asked: Asked) -> bytes:
        if not waits:
            return primary.honest(asked)
        return sealed(asked, 503, problem, Content_Type=PROBLEM_TYPE, Retry_After=waits.pop(0))

    with hearing(says) as source:
        assert source.last_lsn() == 300
    assert len(slept) == 3
    assert 2 <= slept[0] <= 3
    assert 5 <= slept[1] <= 9
    assert slept[2] <= 4


def test_a_busy_primary_is_waited_for_by_those_who_fetch(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More refusals than there are tries cost a wait each, and are no fault of the primary."""
    slept = sleepless(monkeypatch)
    problem = msgspec.json.encode(Problem(error="SourceUnavailable", detail="busy"))
    said = itertools.count()

    def says(asked: Asked) -> bytes:
        if next(said) >= 10:
            return primary.honest(asked)
        return sealed(asked, 429, problem, Content_Type=PROBLEM_TYPE, Retry_After="1")

    with hearing(says) as source:
        assert source.fetch_chunk(primary.pin.token, primary.chunk)
        assert source.standings()[0].penalty == 0
    assert len(slept) == 10
    assert min(slept) >= 1


def test_a_request_outlives_a_restart(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """A primary that dies in the middle of its answer and comes back is asked again."""
    monkeypatch.setattr(retrying, "TRIES", 5)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.2)
    with Speaker(lambda asked: [OK + b"Content-Length: 300\r\n\r\n{", None]) as dying:
        port = dying.port
        with HttpSource.open(dying.url, slot="x") as source:
            answered: list[int] = []
            asking = threading.Thread(target=lambda: answered.append(source.last_lsn()))
            asking.start()
            while not dying.connections:
                time.sleep(0.01)
            dying.__exit__()
            with Speaker(primary.honest, port=port):
                asking.join(20)
    assert answered == [300]


def test_a_closed_source_says_so() -> None:
    """After `close`, a source is not available."""
    source = HttpSource.open("http://127.0.0.1:1", slot="x")
    source.close()
    with pytest.raises(SourceUnavailable, match="closed"):
        source.info()


def test_connections_are_not_lost(primary: Primary) -> None:
    """Answers that break off give their connections back: there are always enough."""
    said = 0

    def says(asked: Asked) -> bytes | list[bytes | None]:
        nonlocal said
        said += 1
        return [OK + b"Content-Length: 9\r\n\r\nx", None] if said % 2 else primary.honest(asked)

    with Speaker(says) as speaker, HttpSource.open(speaker.url, slot="x", connections=2) as source:
        for _ in range(5):
            with pytest.raises(SourceUnavailable):
                source.info()
            assert source.last_lsn() == 300


def test_a_reset_is_survived(primary: Primary) -> None:
    """A connection that is reset rather than closed is an unavailable source."""
    listener = socket.create_server(("127.0.0.1", 0))

    def reset() -> None:
        connection, _ = listener.accept()
        connection.recv(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    threading.Thread(target=reset, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with (
        listener,
        HttpSource.open(url, slot="x") as source,
        pytest.raises(SourceUnavailable, match="broke"),
    ):
        source.info()


def test_what_is_no_chunk_waits_for_none_and_a_closed_source_fetches_nothing_more(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All connections for chunks hang, and more are waited for: that is no reason to be silent.

    Whoever waits for a connection is given up, and once the source is closed everybody is.
    """
    monkeypatch.setattr(transport, "PATIENCE_S", 60.0)
    monkeypatch.setattr(transport, "POOL_S", 0.2)
    monkeypatch.setattr("bootledger.replica.http.fetching.TRIES", 1000)
    monkeypatch.setattr("bootledger.replica.http.fetching._BACKOFF_S", 1e-9)
    hangs, end = threading.Event(), threading.Event()

    def says(asked: Asked) -> bytes:
        if "data.mdb" in asked.target or "/chunks/" in asked.target:
            hangs.set()
            end.wait(50)
        return primary.honest(asked)

    raised: list[Exception] = []

    def fetch() -> None:
        try:
            source.fetch_chunk(primary.pin.token, primary.chunk)
        except SourceUnavailable as error:
            raised.append(error)

    with Speaker(says) as speaker:
        source = HttpSource.open(speaker.url, slot="r", connections=1, compression="off")
        threads = [threading.Thread(target=fetch, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert hangs.wait(10)
        assert source.last_lsn() == 300
        source.close()
        for _ in range(200):
            time.sleep(0.05)
            if len(raised) == len(threads) - 1:
                break
        assert len(raised) == len(threads) - 1  # the third waits for its answer
        end.set()


@pytest.mark.parametrize(
    ("told_ms", "heard_ms"), [(None, None), (90_000, 90_000), (2**63, 300_000)]
)
def test_a_primary_says_when_it_wants_to_be_asked_again(
    primary: Primary, monkeypatch: pytest.MonkeyPatch, told_ms: int | None, heard_ms: int | None
) -> None:
    """Its word comes with the error, of any request, within reason."""
    monkeypatch.setattr("bootledger.replica.http.fetching.BUSY_WITHIN_S", 0.0)
    busy = Problem(error="SourceUnavailable", detail="busy", retry_after_ms=told_ms)

    def says(asked: Asked) -> bytes:
        return sealed(asked, 503, msgspec.json.encode(busy), Content_Type=PROBLEM_TYPE)

    with hearing(says) as source:
        for ask in (
            source.last_lsn,
            lambda: source.changes(0, 1),
            lambda: source.fetch_chunk(primary.pin.token, primary.chunk),
        ):
            with pytest.raises(SourceUnavailable, match="busy") as raised:
                ask()
            assert raised.value.retry_after_ms == heard_ms
