"""A bad link: a TCP proxy between replica and primary that does harm, by a seed and a profile.

    python tests/chaos_proxy.py HOST:PORT [--listen HOST:PORT] [--profile NAME] [--seed N]

It prints one line of JSON when it listens. Then it obeys its standard input, a word a line: `calm`
(do no more harm), `storm` (go on with it), `count` (print what was done so far, as a line of JSON).
At the end of its input it ends, and prints that line once more.

Harm to the bytes of a connection comes at places that the seed decides, whatever pieces they travel
in: the number of the connection and the direction say which places. Weather is what happens to all
connections at once, by the clock. A delay is that of a long line: what arrives is passed on so much
later, however much is under way. Opening a connection is not delayed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

from chaos_links import PROFILES, Link, Profile, Shared


class Proxy:
    """Accepts connections on one address, and makes a `Link` of each."""

    def __init__(
        self, listen: tuple[str, int], primary: tuple[str, int], profile: Profile, seed: int
    ) -> None:
        self._primary, self._seed = primary, seed
        # Bound and never listening: the port stays ours while connections are refused.
        self._place = _bound(listen)
        self.address = self._place.getsockname()
        self._listener = self._listen()
        self.shared = Shared(profile)
        self._links: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Pass connections on for ever, in fair weather and in foul."""
        chance, profile = random.Random(self._seed), self.shared.profile
        while True:
            with contextlib.suppress(TimeoutError):
                fair_s = chance.expovariate(1 / profile.fair_s) if profile.fair_s else None
                async with asyncio.timeout(fair_s):
                    await self._accept()
            foul_s = chance.expovariate(1 / profile.foul_s)
            weather = chance.choice(("refusing", "dark"))
            if self.shared.calm:
                continue
            self.shared.counts[weather] += 1
            if weather == "dark":
                self.shared.light.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(foul_s):
                        await self._accept()
                self.shared.light.set()
            else:
                self._listener.close()
                await asyncio.sleep(foul_s)
                self._listener = self._listen()

    def _listen(self) -> socket.socket:
        listener = _bound(self.address)
        listener.listen(256)
        listener.setblocking(False)
        return listener

    async def _accept(self) -> None:
        while True:
            near, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            self.shared.counts["connections"] += 1
            link = Link(near, self.shared, self._seed, self.shared.counts["connections"])
            task = asyncio.create_task(link.run(self._primary))
            self._links.add(task)
            task.add_done_callback(self._links.discard)

    def obey(self, word: str) -> None:
        """Do what was asked for."""
        if word == "count":
            tell({"counts": self.shared.counts})
        else:
            self.shared.calm = {"calm": True, "storm": False}[word]
            tell({"is": word})


def _bound(address: tuple[str, int]) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(address)
    return bound


def tell(what: object) -> None:
    """Print one line of JSON, at once."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def _serve(proxy: Proxy) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def listen_to_people() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(proxy.obey, line.strip())
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=listen_to_people, daemon=True).start()
    running = asyncio.create_task(proxy.run())
    ending = asyncio.create_task(ended.wait())
    await asyncio.wait((running, ending), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    tell({"counts": proxy.shared.counts})


async def _main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("primary", type=_address)
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0))
    parser.add_argument("--profile", choices=PROFILES, default="storm")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    proxy = Proxy(asked.listen, asked.primary, PROFILES[asked.profile], asked.seed)
    tell({"listening": "{}:{}".format(*proxy.address)})
    await _serve(proxy)


class RunningProxy:
    """A proxy in a process of its own, seen from a test."""

    def __init__(self, primary: str, *, profile: str, seed: int = 1) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, primary, "--profile", profile, "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Beside it lies what it imports; a safe path of ours would leave that out.
            env={name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"},
        )
        self.address: str = self._answer()["listening"]

    def say(self, word: str) -> dict[str, int]:
        """Say `calm`, `storm` or `count`, and return what it answered."""
        assert self._process.stdin
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._answer().get("counts", {})

    def end(self) -> dict[str, int]:
        """End it, and return what it did."""
        out, _ = self._process.communicate(timeout=60)
        return json.loads(out.splitlines()[-1])["counts"]

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def chaos_proxy(primary: str, *, profile: str, seed: int = 1) -> Iterator[RunningProxy]:
    """Run a proxy in front of a primary for the length of the block."""
    proxy = RunningProxy(primary, profile=profile, seed=seed)
    try:
        yield proxy
    finally:
        if proxy._process.poll() is None:
            proxy.end()


if __name__ == "__main__":
    asyncio.run(_main())
