from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
import traceback
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import processes
import pytest
from copies import (
    CHUNK_BYTES,
    COPY_IN_A_CHILD,
    copied,
    copy_of,
    end,
    some_bytes,
    source_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from replicas import Counts
from web_servers import Lying, nginx, serving

from bootledger.errors import (
    BootledgerError,
    CorruptChunk,
    InvalidValue,
    NotAllowed,
    SnapshotLost,
    SourceUnavailable,
    Stopped,
)
from bootledger.files import Files
from bootledger.replica.http.access import Access, read_token
from bootledger.replica.ports import OpenApplier, Source
from bootledger.replica.readers import data_file
from bootledger.replica.settings import Settings
from bootledger.replica.sources.appliers import open_file_copy
from bootledger.replica.sources.http_access import read_headers
from bootledger.replica.sources.http_file import HttpFileSource
from bootledger.replica.sources.http_range import RangeReader
from bootledger.simulation import World, explore

CHUNKS = 8
DATA = some_bytes(CHUNKS * CHUNK_BYTES - 17)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Say where the copy goes."""
    return tmp_path / "target"


@pytest.fixture
def what() -> Lying:
    """Say what the server has; it does not lie yet."""
    return Lying(DATA)


@pytest.fixture
def address(what: Lying) -> Iterator[str]:
    """Serve it."""
    with serving(what) as url:
        yield url


def reader_of(address: str, **options: object) -> RangeReader:
    """Return a reader that does not wait long."""
    return RangeReader(address, Access(), first_pause_s=0.001, **options)


def source_with(address: str, target: Path, **options: object) -> HttpFileSource:
    """Return a source in small chunks."""
    return HttpFileSource(
        reader_of(address), target / "spool", Files(), chunk_bytes=CHUNK_BYTES, **options
    )


def ranges(what: Lying) -> list[str]:
    """Return the ranges that were asked for, without the looks at the first byte."""
    return [each for each in what.requests if each != "bytes=0-0"]


def test_nginx_serves_a_file_that_is_copied_with_ranges(tmp_path: Path, target: Path) -> None:
    """A real server, one range or several at once: equal; again: nothing to do; changed: newer."""
    root = tmp_path / "root"
    root.mkdir()
    file = root / "big file.bin"
    file.write_bytes(DATA)
    os.utime(file, (1000, 1000))
    for each in (tmp_path, *list(tmp_path.parents)[:2], root):
        each.chmod(0o755)  # nginx answers as somebody else
    with nginx(root, tmp_path / "nginx") as url:
        address = f"{url}/big%20file.bin?signature=secret"
        first = copied(source_of("http", address, target, in_flight=4), target)
        assert copy_of(target) == DATA
        assert data_file(target / "gen-0001").name == "big file.bin"
        assert not copied(source_of("http", address, target), target).copied
        file.write_bytes(DATA[::-1])
        second = copied(source_of("http", address, target), target)
    assert second.applied_lsn > first.applied_lsn
    assert copy_of(target) == DATA[::-1]


@pytest.mark.parametrize("in_flight", [1, 3])
def test_each_byte_is_asked_for_once_and_takes_room_once(
    what: Lying, address: str, target: Path, in_flight: int
) -> None:
    """What was downloaded becomes the copy by a rename: nothing is fetched a second time."""
    seen = Counts()
    copied(source_of("http", address, target, in_flight=in_flight), target, observer=seen)
    assert copy_of(target) == DATA
    assert len(ranges(what)) == len(set(ranges(what))) == CHUNKS
    assert not seen.fetched
    assert sorted(path.name for path in (target / "spool").iterdir()) == ["lock", "version"]


def test_a_spool_elsewhere_is_copied_from(what: Lying, address: str, tmp_path: Path) -> None:
    """On another file system there is no rename: the copy is made, and nothing is asked again."""
    elsewhere = Path("/dev/shm") / tmp_path.name
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    seen = Counts()
    try:
        reader = reader_of(address)
        source = HttpFileSource(reader, elsewhere, Files(), chunk_bytes=CHUNK_BYTES)
        copied(source, tmp_path / "target", observer=seen)
        assert copy_of(tmp_path / "target") == DATA
        assert len(seen.fetched) == len(ranges(what)) == CHUNKS
    finally:
        for file in elsewhere.iterdir():
            file.unlink()
        elsewhere.rmdir()


def test_an_interrupted_download_goes_on_where_it_was(
    what: Lying, address: str, target: Path
) -> None:
    """The server goes away after three chunks; the next run asks for the others only."""
    what.after, what.status = 6, 404  # three looks and three chunks
    with pytest.raises(SourceUnavailable, match="404"):
        copied(source_of("http", address, target), target)
    what.status = None
    copied(source_of("http", address, target), target)
    assert copy_of(target) == DATA
    assert len(ranges(what)) == CHUNKS + 1


def test_a_change_in_the_middle_begins_a_new_version(
    what: Lying, address: str, target: Path
) -> None:
    """If-Range brings the whole of another version: it is not mixed in, all of it is fetched."""
    changes = iter([lambda: None] * 3 + [lambda: change(what)])
    source = source_with(address, target, watch=lambda *_: next(changes, lambda: None)())
    copied(source, target)
    assert copy_of(target) == what.data
    assert what.etag == '"v2"'


def change(what: Lying) -> None:
    """Have another version on the server."""
    what.data, what.etag = DATA[::-1], '"v2"'


@pytest.mark.parametrize(
    "lie",
    [
        {"etag": '"v2"'},
        {"etag": '"v2"', "ignores_if_range": True},
        {"status": 412},
        {"status": 416},
        {"data": DATA + b"more", "ignores_if_range": True},
    ],
    ids=["200", "206 with another ETag", "412", "416", "another size"],
)
def test_another_version_is_a_lost_pin(what: Lying, address: str, lie: dict[str, object]) -> None:
    """Whatever way a server says it in: the pinned version is gone."""
    reader = reader_of(address)
    remote = reader.look()
    for name, value in lie.items():
        setattr(what, name, value)
    with pytest.raises(SnapshotLost, match="changed"):
        reader.read(remote, 10, 100)
    reader.close()


@pytest.mark.parametrize(
    ("lie", "error", "words"),
    [
        ({"etag": 'W/"v1"'}, InvalidValue, "no strong ETag"),
        ({"etag": None}, InvalidValue, "no strong ETag"),
        ({"etag": '""'}, InvalidValue, "no strong ETag"),
        ({"etag": '"%s"' % ("x" * 300)}, InvalidValue, "no strong ETag"),
        ({"ignores_range": True}, InvalidValue, "serves no ranges"),
        ({"data": b""}, SourceUnavailable, "empty"),
        ({"status": 302, "headers": {"Location": "/?secret"}}, InvalidValue, "elsewhere"),
        ({"status": 401}, NotAllowed, "401"),
        ({"status": 403}, NotAllowed, "403"),
        ({"status": 404}, SourceUnavailable, "404"),
        ({"status": 500}, SourceUnavailable, "500"),
        ({"status": 204}, SourceUnavailable, "204"),
        ({"headers": {"Content-Range": "bytes 1-1/100"}}, SourceUnavailable, "asked for were"),
        ({"headers": {"Content-Range": "bytes 0-1/100"}}, SourceUnavailable, "asked for were"),
        ({"headers": {"Content-Range": "bytes 0-0/*"}}, SourceUnavailable, "Content-Range"),
        ({"headers": {"Content-Range": "lines 0-0/9"}}, SourceUnavailable, "Content-Range"),
        (
            {"headers": {"Content-Range": f"bytes 0-0/{2**63}"}},
            SourceUnavailable,
            "claims",
        ),
        ({"headers": {"Content-Range": "bytes 0-0/" + "9" * 5000}}, SourceUnavailable, "Range"),
        ({"headers": {"Content-Encoding": "gzip"}}, SourceUnavailable, "encoding"),
        ({"cut": 1}, SourceUnavailable, "big.bin"),
        ({"headers": {"X-Long": "x" * 70_000}}, SourceUnavailable, "big.bin"),
        ({"headers": {f"X-{n}": "x" for n in range(200)}}, SourceUnavailable, "big.bin"),
    ],
)
def test_a_server_that_cannot_be_copied_from_is_refused_in_words(
    what: Lying, address: str, target: Path, lie: dict[str, object], error: type, words: str
) -> None:
    """No ranges, no version to hold on to, wrong answers: nothing is copied, no target is made."""
    for name, value in lie.items():
        setattr(what, name, value)
    with pytest.raises(error, match=words):
        copied(source_of("http", address, target), target)
    assert not target.exists()


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"cut": 1}, "big.bin"),
        ({"cut": CHUNK_BYTES}, "big.bin"),
        ({"headers": {"Content-Length": str(CHUNK_BYTES - 1)}}, "fewer"),
        ({"headers": {"Content-Range": f"bytes 0-{CHUNK_BYTES - 1}/{len(DATA)}"}}, "asked for"),
        ({"ignores_range": True}, "the whole file came"),
        ({"etag": None}, "no strong ETag"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "big.bin"),
    ],
)
def test_a_wrong_answer_in_the_middle_brings_no_wrong_byte(
    what: Lying, address: str, target: Path, lie: dict[str, object], words: str
) -> None:
    """It ends the run in words; when the server is well again, the run goes on and ends equal."""
    what.after = 5  # three looks and two chunks
    truth = replace(what)
    if "etag" not in lie:
        for name, value in lie.items():
            setattr(what, name, value)
        with pytest.raises(BootledgerError, match=words):
            copied(source_of("http", address, target), target)
    else:
        source = source_with(
            address, target, watch=lambda here, _: setattr(what, "etag", None) if here else None
        )
        with pytest.raises(BootledgerError, match=words):
            copied(source, target)
    for name in lie:
        setattr(what, name, getattr(truth, name))
    copied(source_of("http", address, target), target)
    assert copy_of(target) == DATA


def test_what_fails_in_passing_is_asked_for_again(what: Lying, address: str, target: Path) -> None:
    """A server that is busy for a moment costs a moment."""
    what.failures = 3
    copied(source_of("http", address, target), target)
    assert copy_of(target) == DATA


def test_a_head_that_drips_is_not_waited_for() -> None:
    """A server that sends a byte now and then, and never a whole head, is hung up on."""
    dripping = b"HTTP/1.1 206 Partial Content\r\nX: " + b"x" * 120
    sent = 0
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            nonlocal sent
            there, _ = server.accept()
            with there, contextlib.suppress(OSError):
                for byte in dripping:
                    there.sendall(bytes((byte,)))
                    sent += 1
                    time.sleep(0.03)

        thread = Thread(target=drip)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/big.bin"
        reader = RangeReader(address, Access(), attempts=1, timeout_s=0.3, request_s=0.6)
        with pytest.raises(SourceUnavailable, match="in time"):
            reader.look()
        reader.close()
        thread.join()
    assert 0 < sent < len(dripping)


@pytest.mark.parametrize("silent", [False, True], ids=["by the limit", "by the server"])
def test_a_stop_is_heard_whatever_is_waited_for(
    what: Lying, address: str, target: Path, silent: bool
) -> None:
    """Neither the bandwidth limit nor a server that says nothing any more delays a stop."""
    rate = None if silent else CHUNK_BYTES / 20
    what.silent_after = 4 if silent else None
    source = source_with(address, target, max_bytes_per_s=rate)
    began_s = time.monotonic()
    stop = Settings(stop=lambda: "enough" if time.monotonic() - began_s > 1 else None)
    with pytest.raises(Stopped, match="enough"):
        copied(source, target, settings=stop)
    assert time.monotonic() - began_s < 10, "twenty seconds is what there was to wait for"
    what.enough.set()


def test_last_modified_is_trusted_by_name_only(what: Lying, address: str) -> None:
    """With the option a date pins; not one so new that another write could have the same."""
    what.etag = 'W/"v1"'
    what.last_modified = "Mon, 01 Jan 2024 10:00:00 GMT"
    what.date = "Mon, 01 Jan 2024 10:00:01 GMT"
    reader = reader_of(address, trust_last_modified=True, attempts=1)
    with pytest.raises(SourceUnavailable, match="written just now"):
        reader.look()
    what.date = "Mon, 01 Jan 2024 10:00:02 GMT"
    remote = reader.look()
    assert reader.read(remote, 5, 20) == DATA[5:25]
    what.last_modified = "Mon, 01 Jan 2024 09:00:00 GMT"
    with pytest.raises(SnapshotLost):
        reader.read(remote, 5, 20)
    what.last_modified = "yesterday"
    with pytest.raises(InvalidValue, match="cannot be compared"):
        reader.look()
    reader.close()


def test_a_sum_of_the_whole_is_compared_before_it_counts(
    what: Lying, address: str, target: Path
) -> None:
    """From the caller, or from the server as Repr-Digest: what is wrong is never pinned."""
    right, wrong = hashlib.sha256(DATA).hexdigest(), "0" * 64
    with pytest.raises(InvalidValue, match="no SHA-256"):
        source_with(address, target, sha256_hex="abc")
    with pytest.raises(CorruptChunk, match=f"expected {wrong}"):
        copied(source_with(address, target, sha256_hex=wrong), target)
    what.headers = {"Repr-Digest": f"sha-256=:{b64encode(bytes(32)).decode()}:"}
    with pytest.raises(CorruptChunk, match="expected 0000"):
        copied(source_with(address, target), target)
    before = len(ranges(what))
    copied(source_with(address, target, sha256_hex=right), target)
    assert copy_of(target) == DATA
    assert len(ranges(what)) == before + CHUNKS  # nothing of what was wrong was kept


def test_damage_after_the_download_is_fetched_again_by_its_range(
    what: Lying, address: str, target: Path
) -> None:
    """A chunk that rots in the candidate costs that chunk."""
    with source_with(address, target) as source:
        target.mkdir()
        pin = source.pin("intent", 1)
        source.hand_over(pin.token, target / "candidate")
        asked = len(ranges(what))
        manifest = source._manifest()
        assert manifest is not None
        assert source.fetch_chunk(pin.token, manifest.chunk(2)) == DATA[20_000:30_000]
        assert ranges(what)[asked:] == ["bytes=20000-29999"]
        change(what)
        with pytest.raises(SnapshotLost):
            source.fetch_chunk(pin.token, manifest.chunk(2))


def test_no_secret_is_shown_or_sent_where_it_does_not_belong(
    what: Lying, address: str, tmp_path: Path
) -> None:
    """Neither token, header nor query are in any message; a user in the address is refused."""
    (tmp_path / "token").write_text("s3cret-token\n")
    (tmp_path / "headers").write_text("# for the proxy\n\nX-Key: s3cret-key\n")
    token, headers = read_token(tmp_path / "token"), read_headers(tmp_path / "headers")
    access = Access(token=token, headers=headers)
    assert "s3cret" not in repr(access)
    reader = RangeReader(f"{address}?sig=s3cret", access, attempts=1)
    reader.look()
    assert what.seen[-1]["Authorization"] == "Bearer s3cret-token"
    assert what.seen[-1]["X-Key"] == "s3cret-key"
    closed = RangeReader("http://127.0.0.1:9/x?sig=s3cret", access, attempts=1)
    for status in (302, 403, 404, 500, 200):
        what.status = status
        with pytest.raises(BootledgerError) as caught:
            reader.look()
        assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(SourceUnavailable) as caught_closed:
        closed.look()
    assert "s3cret" not in "".join(traceback.format_exception(caught_closed.value))
    for url, words in (
        ("http://me:s3cret@127.0.0.1/x", "a user or a password"),
        ("http://example.org/x?s3cret", "for everybody to read"),
        ("ftp://example.org/s3cret", "no http or https"),
        ("http://[s3cret", "no address"),
        ("s3cret", "no http or https"),
    ):
        with pytest.raises(InvalidValue, match=words) as refused:
            RangeReader(url, access)
        assert "s3cret" not in str(refused.value)
    for bad in ({"token": "s3cret\r\nX: y"}, {"headers": {"X": "s3cret\n"}}):
        with pytest.raises(InvalidValue) as refused:
            Access(**bad)
        assert "s3cret" not in str(refused.value)
    with pytest.raises(InvalidValue, match="cannot be set"):
        Access(headers={"Range": "bytes=0-1"})


headers = st.fixed_dictionaries(
    {},
    optional={
        "ETag": st.sampled_from(['"v1"', '"v2"', 'W/"v1"', "v1", ""]),
        "Content-Range": st.one_of(
            st.from_regex(r"bytes [0-9]{1,3}-[0-9]{1,3}/[0-9]{1,6}", fullmatch=True),
            st.just(f"bytes 10-109/{len(DATA)}"),
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
        ),
        "Content-Length": st.sampled_from(["0", "1", "99", "100", "101", "-1", "x", "9" * 30]),
        "Content-Encoding": st.sampled_from(["identity", "gzip", "br"]),
        "Transfer-Encoding": st.just("chunked"),
    },
)


def test_whatever_a_server_answers_only_the_asked_bytes_are_taken() -> None:
    """Of any status and any headers: the right bytes of the pinned version, or an error of ours."""
    what = Lying(DATA)
    with serving(what) as address:
        reader = RangeReader(address, Access(), attempts=1, timeout_s=0.05)
        remote = reader.look()

        @settings(max_examples=60)
        @given(st.sampled_from([None, None, 200, 206, 304, 416, 600]), headers, st.integers(0, 5))
        def ask(status: int | None, told: dict[str, str], cut: int) -> None:
            what.status, what.headers, what.cut = status, dict(told), cut
            try:
                found = reader.read(remote, 10, 100)
            except BootledgerError:
                return
            assert found == DATA[10:110]

        ask()
        reader.close()


SMALL = DATA[:150]


@pytest.mark.parametrize(
    "budget", [25, pytest.param(25_000, marks=pytest.mark.crash)], ids=["sample", "all"]
)
def test_a_crash_of_a_download_leads_to_the_servers_bytes(budget: int) -> None:
    """Wherever it dies once, the next start ends equal: a sample here, every point by `crash`."""
    what = Lying(SMALL)
    with serving(what) as address:

        def build(world: World) -> tuple[Source, OpenApplier]:
            what.requests.clear()
            source = HttpFileSource(
                reader_of(address), world.path / "spool", world.files, chunk_bytes=100
            )
            return source, open_file_copy

        def check(world: World) -> None:
            assert data_file(world.database).read_bytes() == SMALL

        report = explore(build, check, crashes=1, budget=budget)
    report.assert_ok()
    if report.every_single:
        assert {"range.synced", "range.noted", "spool.renamed", "source.handed_over"} <= set(
            report.boundaries
        )
    assert report.every_single == (budget > report.points)


@pytest.mark.crash
def test_pairs_of_crashes_of_a_download_lead_to_the_servers_bytes() -> None:
    """Two deaths, and another version after each."""
    what = Lying(SMALL)
    versions = iter(range(10**9))

    def newer(world: World) -> None:
        number = next(versions)
        what.data, what.etag = b"%d" % number + SMALL, f'"{number}"'

    with serving(what) as address:

        def build(world: World) -> tuple[Source, OpenApplier]:
            what.requests.clear()
            source = HttpFileSource(
                reader_of(address), world.path / "spool", world.files, chunk_bytes=100
            )
            return source, open_file_copy

        def check(world: World) -> None:
            assert data_file(world.database).read_bytes() == what.data

        report = explore(build, check, between=newer, crashes=2, budget=600)
    report.assert_ok()
    assert report.every_single


@pytest.mark.parametrize(
    "kills", [2, pytest.param(15, marks=pytest.mark.crash)], ids=["short", "long"]
)
def test_killed_for_real_in_the_download_it_asks_again_for_what_was_in_flight(
    target: Path, kills: int
) -> None:
    """SIGKILL in the middle, again and again: each costs at most the one chunk in flight."""
    data = some_bytes(50 * CHUNK_BYTES)
    what = Lying(data)
    with serving(what) as address:
        tests = Path(__file__).parent
        for number in range(kills):
            before = len(ranges(what))
            child = processes.start(COPY_IN_A_CHILD, tests, "http", address, target, CHUNK_BYTES)
            assert processes.wait_for_line(child) == "up"
            while len(ranges(what)) < before + 1 + number % 3 and child.poll() is None:
                time.sleep(0.001)
            end(child)
        copied(source_of("http", address, target), target)
    assert copy_of(target) == data
    assert len(ranges(what)) <= 50 + kills
