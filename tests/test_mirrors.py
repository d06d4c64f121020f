"""Chunks from several places: who is asked, who is penalised, and that the copy ends right."""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer
from replicas import make_primary
from speaking import Asked, Honest, Speaker, http_answer

from bootledger.basebackup.manifest import Chunk, decode
from bootledger.errors import CorruptChunk, SnapshotLost, SourceUnavailable
from bootledger.files import Files
from bootledger.primary.source import LocalSource
from bootledger.replica.http.mirrors import BAN_AT, MOST_BAN_S, Places
from bootledger.replica.http.source import HttpSource

PRIMARY, FIRST, SECOND = "primary", "first", "second"
NAMES = [PRIMARY, FIRST, SECOND]
MOST = 4


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["served", "failed", "lacks"]),
            st.floats(0, 500),
            st.integers(0, 3),
        ),
        max_size=60,
    )
)
def test_somebody_is_always_asked_and_never_a_banned_mirror(
    events: list[tuple[str, float, int]],
) -> None:
    """Whatever happened: the primary is left in the end, and a banned mirror is left alone."""
    places = Places(NAMES)
    now_s = 0.0
    for outcome, later_s, missed in events:
        now_s += later_s
        place = places.take("token", now_s, {FIRST: missed, SECOND: MOST}, MOST)
        assert place in (PRIMARY, FIRST)
        standing = {each.place: each for each in places.standings(now_s)}
        assert place == PRIMARY or standing[place].banned_for_s == 0
        places.put_back(place)
        if outcome == "lacks" and place == FIRST:
            places.lacks(place, "token", now_s)
            assert places.take("token", now_s, {}, MOST) != FIRST
        elif outcome != "lacks":
            getattr(places, outcome)(place, now_s)
    for each in places.standings(now_s + 50 * MOST_BAN_S):
        assert each.penalty < 0.01, "penalties are forgotten"
        assert each.banned_for_s == 0, "bans end"


@given(st.integers(1, 60))
def test_work_is_spread_over_healthy_places(count: int) -> None:
    """So many chunks at once are shared evenly; one that failed gets less."""
    places = Places(NAMES)
    taken = Counter(places.take("token", 0.0, {}, MOST) for _ in range(count))
    assert max(taken.values()) - min(taken[name] for name in NAMES) <= 1
    places = Places(NAMES)
    for _ in range(2):
        places.failed(FIRST, 0.0)
    taken = Counter(places.take("token", 0.0, {}, MOST) for _ in range(count))
    assert taken[FIRST] <= taken[PRIMARY]


def test_a_ban_follows_repeats_and_doubles() -> None:
    """Three failures in a row ban a place; the next ban is twice as long, up to a limit."""
    places = Places(NAMES)
    now_s = 0.0
    bans = []
    for _ in range(7):
        for _ in range(int(BAN_AT)):
            places.failed(FIRST, now_s)
        bans.append(places.standings(now_s)[1].banned_for_s)
        now_s += bans[-1] + 1
    assert bans[:3] == [30, 60, 120]
    assert bans[-1] == MOST_BAN_S


def test_a_failure_now_and_then_bans_nobody() -> None:
    """One damaged chunk in a hundred is a penalty, not a ban."""
    places = Places(NAMES)
    for now_s in range(10):
        places.failed(FIRST, now_s)
        for _ in range(3):
            places.served(FIRST, now_s)
    assert places.standings(10)[1].banned_for_s == 0


# --- real mirrors ------------------------------------------------------------------------------


class Copy:
    """A primary's base backup, and where else it lies."""

    def __init__(self, path: Path) -> None:
        make_primary(path, records=3000)
        self.local = LocalSource.open(path, Files(), chunk_bytes=64 * 1024)
        self.honest = Honest(self.local)
        self.pin = self.local.pin("intent", 1)
        self.root = path / "basebackups"
        self.manifest = decode(self.local.read_manifest(self.pin.token, 0, 2**20))

    def fetch_all(self, source: HttpSource) -> list[tuple[str, Chunk, str]]:
        """Fetch every chunk, see that it is right, and return what was rejected."""
        rejected: list[tuple[str, Chunk, str]] = []
        for chunk in self.manifest.chunks():
            data = source.fetch_chunk(self.pin.token, chunk, lambda *told: rejected.append(told))
            assert chunk.objection(data) is None
        return rejected


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Return a base backup of some thirty chunks."""
    return Copy(tmp_path_factory.mktemp("mirrored") / "primary")


@contextmanager
def nginx(root: Path, directory: Path) -> Iterator[str]:
    """Serve the files under `root`, as any web server does."""
    with Speaker(lambda asked: b"") as free:
        port = free.port
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {directory}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {directory};\n"
        f"proxy_temp_path {directory}; fastcgi_temp_path {directory};\n"
        f"uwsgi_temp_path {directory}; scgi_temp_path {directory};\n"
        f"server {{ listen 127.0.0.1:{port}; root {root}; sendfile on; }} }}\n"
    )
    command = ["nginx", "-e", "stderr", "-c", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        while not _listens(url):
            assert process.poll() is None
            time.sleep(0.02)
        yield url
    finally:
        process.kill()
        process.wait()


def _listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="there is no nginx here")


@needs_nginx
def test_a_damaged_chunk_of_a_mirror_is_rejected_and_fetched_elsewhere(
    copy: Copy, tmp_path: Path
) -> None:
    """The copy ends right, and the mirror is named and penalised, but not banned for one chunk."""
    tmp_path.chmod(0o755)
    shutil.copytree(copy.root, tmp_path / "mirror")
    damaged = copy.manifest.chunk(5)
    with (tmp_path / "mirror" / copy.pin.token / "data.mdb").open("r+b") as file:
        file.seek(damaged.offset_bytes + 1000)
        file.write(b"damage")
    with (
        Speaker(copy.honest) as primary,
        nginx(tmp_path / "mirror", tmp_path) as mirror,
        HttpSource.open(primary.url, slot="x", mirrors=[mirror]) as source,
    ):
        rejected = []
        for _ in range(4):  # until it was the mirror's turn to send that chunk
            rejected += copy.fetch_all(source)
        standings = {each.place: each for each in source.standings()}
    assert rejected
    for place, chunk, reason in rejected:
        assert (place, chunk) == (mirror, damaged)
        assert "CRC32C" in reason
    assert standings[mirror].penalty > standings[primary.url].penalty == 0
    assert standings[mirror].banned_for_s == 0


@needs_nginx
def test_a_mirror_that_has_nothing_is_left_aside(copy: Copy, tmp_path: Path) -> None:
    """404 is no fault of a mirror, is asked for once, and never means that the snapshot is lost."""
    tmp_path.chmod(0o755)
    (tmp_path / "empty").mkdir()
    with (
        Speaker(copy.honest) as primary,
        nginx(tmp_path / "empty", tmp_path) as mirror,
        HttpSource.open(primary.url, slot="x", mirrors=[mirror]) as source,
    ):
        assert copy.fetch_all(source) == []
        assert [each.penalty for each in source.standings()] == [0, 0]


def test_an_object_store_serves_chunks(copy: Copy) -> None:
    """From a bucket that everybody may read, chunks come by range, and the primary sends less."""
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store.start()
    try:
        host, port = store.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket="backups", ACL="public-read")
        data = (copy.root / copy.pin.token / "data.mdb").read_bytes()
        client.put_object(
            Bucket="backups", Key=f"{copy.pin.token}/data.mdb", Body=data, ACL="public-read"
        )
        with (
            Speaker(copy.honest) as primary,
            HttpSource.open(primary.url, slot="x", mirrors=[f"{url}/backups"]) as source,
        ):
            copy.honest.asked.clear()
            assert copy.fetch_all(source) == []
            assert 0 < len(copy.honest.asked) < copy.manifest.chunk_count
            assert [each.penalty for each in source.standings()] == [0, 0]
    finally:
        store.stop()


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 206 Part\r\nContent-Length: 3\r\nContent-Range: bytes 0-2/9\r\n\r\nxyz",
        b"junk\r\n\r\n",
    ],
)
def test_a_mirror_that_serves_anything_else_is_avoided_and_the_copy_ends_right(
    copy: Copy, said: bytes
) -> None:
    """Redirections, whole files, errors and junk cost a few requests, not the copy."""
    asked = []

    def answer(request: Asked) -> list[bytes | None]:
        asked.append(request)
        return [said, None]

    with (
        Speaker(copy.honest) as primary,
        Speaker(answer) as mirror,
        HttpSource.open(primary.url, slot="x", mirrors=[mirror.url]) as source,
    ):
        copy.fetch_all(source)
        assert source.standings()[1].penalty > 0.9
    assert len(asked) <= BAN_AT


def test_while_the_primary_is_away_mirrors_go_on(copy: Copy) -> None:
    """Chunks come from a mirror although nobody answers at the primary's address."""
    with Speaker(lambda asked: _ranges(copy.root, asked)) as mirror:
        with Speaker(copy.honest) as gone:
            address = gone.url
        with HttpSource.open(address, slot="x", mirrors=[mirror.url]) as source:
            copy.fetch_all(source)


def test_damage_everywhere_ends_as_damage_of_the_source(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If every place sends the same wrong bytes again and again, a person must look."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    chunk = copy.manifest.chunk(1)
    wrong = chunk._replace(crc32c=chunk.crc32c ^ 1)
    rejected: list[object] = []
    with (
        Speaker(copy.honest) as primary,
        HttpSource.open(primary.url, slot="x", compression="off") as source,
        pytest.raises(CorruptChunk, match="wherever it is fetched from"),
    ):
        source.fetch_chunk(copy.pin.token, wrong, lambda *told: rejected.append(told))
    assert len(rejected) == MOST


def test_damage_that_differs_is_the_links(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that damages every answer in another way is to blame, not the source."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    count = 0

    def spoil(asked: Asked) -> bytes:
        nonlocal count
        count += 1
        right = copy.honest(asked)
        return right[:-1] + bytes([right[-1] ^ count])

    with (
        Speaker(spoil) as primary,
        HttpSource.open(primary.url, slot="x", compression="off") as source,
        pytest.raises(SourceUnavailable, match="damaged on the way"),
    ):
        source.fetch_chunk(copy.pin.token, copy.manifest.chunk(1))


def test_only_the_primary_can_lose_a_snapshot(copy: Copy) -> None:
    """What the primary no longer has is lost, even if a mirror could send it."""
    with (
        Speaker(copy.honest) as primary,
        HttpSource.open(primary.url, slot="x") as source,
        pytest.raises(SnapshotLost),
    ):
        source.fetch_chunk("gone.1", copy.manifest.chunk(0))


def _ranges(root: Path, asked: Asked) -> bytes:
    """Answer as a plain file server does that knows ranges."""
    data = (root / asked.target.strip("/")).read_bytes()
    first, last = map(int, asked.headers["range"].removeprefix("bytes=").split("-"))
    span = f"bytes {first}-{last}/{len(data)}"
    return http_answer(206, data[first : last + 1], {"Content-Range": span})
