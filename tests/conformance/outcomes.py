"""What the walkers of whole operations need: a place for each case, and its input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from worlds import fresh_place

from conformance.answers import Json, Unknown


@contextmanager
def empty_root() -> Iterator[Path]:
    """Make a directory for one case, without links in its own path."""
    with fresh_place() as place:
        yield place.resolve()


def text_of(case: Mapping[str, Json], name: str, folder: Path) -> bytes:
    """Return an input that is given as text under `name`, as hex, or as a file."""
    if "hex" in case:
        return bytes.fromhex(case["hex"])
    if name in case:
        return str(case[name]).encode()
    if "file" in case:
        return (folder / case["file"]).read_bytes()
    raise Unknown(f"no {name}, hex or file in {sorted(case)}")
