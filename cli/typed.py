"""Sizes and addresses as people type them."""

from __future__ import annotations

import re

import typer

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([kMGT]?)", re.ASCII)
_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_ADDRESS = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):([0-9]{1,5})", re.ASCII
)
_PORT_MAX = 65535


def size_of(text: str) -> int:
    """Return how many bytes `50M` or `1.5G` are; the units are k, M, G and T, powers of 1000."""
    parts = _SIZE.fullmatch(text)
    if parts is None or not (size := int(float(parts[1]) * _UNITS[parts[2]])):
        raise typer.BadParameter(f"{text[:40]!r} is no size: 500k, 50M and 1.5G are")
    return size


def address_of(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`, of `[::1]:7433` too."""
    parts = _ADDRESS.fullmatch(text)
    if parts is None or int(parts[3]) > _PORT_MAX:
        raise typer.BadParameter(f"{text[:80]!r} is no HOST:PORT")
    return parts[1] or parts[2], int(parts[3])
