"""The proxy that does harm does what it says, where the seed says, and nothing else."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from chaos_links import HARMS
from chaos_proxy import RunningProxy, chaos_proxy

BODY = bytes(range(251)) * 8_000
"""What the primary of these tests sends to whoever sends it one byte."""
LATE_S = 5.0


def _answer(near: socket.socket) -> None:
    with near, contextlib.suppress(OSError):
        if near.recv(1):
            near.sendall(BODY)


@pytest.fixture(scope="module")
def primary() -> Iterator[str]:
    """Give the address of a server that sends `BODY`, and closes."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    threading.Thread(target=_answer, args=(near,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield "{}:{}".format(*listener.getsockname())
        listener.shutdown(socket.SHUT_RDWR)


def _ask(proxy: RunningProxy) -> tuple[bytes, str]:
    """Return what came through, and how it ended."""
    host, _, port = proxy.address.rpartition(":")
    came = b""
    try:
        with socket.create_connection((host, int(port)), LATE_S) as near:
            near.sendall(b"?")
            while data := near.recv(2**20):
                came += data
    except ConnectionError as error:
        return came, type(error).__name__
    return came, "end"


def _spoilt_at(came: bytes) -> int:
    return next((i for i, (one, other) in enumerate(zip(came, BODY, strict=False)) if one != other))


def test_a_clear_link_and_a_long_one_change_nothing(primary: str) -> None:
    """Every byte passes, a long line passes them later, and both say how many."""
    for profile, least_s in (("clear", 0), ("latency", 0.05), ("slow", len(BODY) / 20e6)):
        with chaos_proxy(primary, profile=profile) as proxy:
            began_s = time.monotonic()
            assert _ask(proxy) == (BODY, "end")
            assert time.monotonic() - began_s >= least_s
            assert proxy.end() == {"connections": 1, "up_bytes": 1, "down_bytes": len(BODY)}


@pytest.mark.parametrize("kind", HARMS)
def test_each_harm_is_what_it_is_called_and_where_the_seed_says(primary: str, kind: str) -> None:
    """The first link of two proxies of one seed suffers the same, the second one something else."""
    seen = []
    for _ in range(2):
        with chaos_proxy(primary, profile=kind, seed=5) as proxy:
            seen.append([(*_ask(proxy), proxy.say("count")[f"{kind}_down"]) for _ in range(2)])
    (came, end, count), other = seen[0]
    again = seen[1][0]
    assert count > 0
    assert again[1:] == (end, count)
    assert (other[0], other[2]) != (came, count)
    match kind:
        case "cut" | "truncate":
            assert end == "end"
            assert BODY.startswith(came)
            assert len(came) < len(BODY)
        case "reset":
            assert end == "ConnectionResetError"
        case "delay" | "throttle":
            assert (came, end) == (BODY, "end")
        case "corrupt":
            assert len(came) == len(BODY)
            assert _spoilt_at(came) == _spoilt_at(again[0])
        case "duplicate" | "swallow":
            assert (len(came) > len(BODY)) == (kind == "duplicate")
            assert _spoilt_at(came) == _spoilt_at(again[0])


def test_no_harm_is_done_where_it_is_calm(primary: str) -> None:
    """After `calm` everything passes, after `storm` it does not, and the counts are told."""
    with chaos_proxy(primary, profile="cut") as proxy:
        proxy.say("calm")
        assert _ask(proxy) == (BODY, "end")
        assert "cut_down" not in proxy.say("count")
        proxy.say("storm")
        assert _ask(proxy)[0] != BODY
        assert proxy.say("count")["cut_down"] == 1


def test_connections_are_refused_and_a_primary_that_is_gone_is_no_other_end(primary: str) -> None:
    """Whoever is refused, or whose primary is not there, sees the connection reset."""
    with chaos_proxy(primary, profile="refuse", seed=3) as proxy:
        ends = [_ask(proxy)[1] for _ in range(12)]
        assert set(ends) == {"end", "ConnectionResetError"}
        assert proxy.end()["refused"] == ends.count("ConnectionResetError")
    with socket.socket() as nobody, chaos_proxy(_nowhere(nobody), profile="clear") as proxy:
        assert _ask(proxy)[1] == "ConnectionResetError"
        assert proxy.end()["primary_was_not_there"] == 1


def _nowhere(nobody: socket.socket) -> str:
    nobody.bind(("127.0.0.1", 0))
    return "{}:{}".format(*nobody.getsockname())


def test_in_bad_weather_nobody_gets_through_and_later_everybody_does(primary: str) -> None:
    """A storm refuses or holds back; when it is calm, whoever tries gets everything."""
    with chaos_proxy(primary, profile="weather", seed=1) as proxy:
        ends = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            counts = proxy.say("count")
            if counts.get("dark", 0) > 1 and "ConnectionRefusedError" in ends:
                break
            ends.append(_ask(proxy)[1])
        assert "end" in ends
        assert "ConnectionRefusedError" in ends
        proxy.say("calm")
        while (got := _ask(proxy))[1] != "end":
            assert time.monotonic() < deadline + 60
        assert got == (BODY, "end")
