"""Whose target a directory is: the record that says so, and what is refused on its account."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

import msgspec

from bootledger.errors import CorruptRecord, ForeignTarget, InvalidValue, UnknownFormat
from bootledger.files import translated
from bootledger.positions import U64, check_node_id, check_text
from bootledger.replica.readers import CURRENT_NAME, IDENTITY_NAME, checked_current, read_current

LEDGER_NAME = "ledger"
OWNER_LOCK_NAME = "owner.lock"
FORMAT: Final = 1

NOT_CONTENT = {
    LEDGER_NAME,
    f".{LEDGER_NAME}.creating",
    f".{LEDGER_NAME}.creating.lock",
    OWNER_LOCK_NAME,
    f".{CURRENT_NAME}.tmp",
    f".{IDENTITY_NAME}.tmp",
    "lost+found",
}
"""What may lie in a directory that counts as empty."""


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose target it is: a copy of one source's database, for one node.

    `target_id` is its own name, made with it: it stays the same wherever the directory is moved.
    """

    format: Literal[1] = FORMAT
    source_database_id: str
    node_id: str
    target_id: str
    created_at_ms: U64

    def __post_init__(self) -> None:
        """Check all ids."""
        check_text(self.source_database_id, "source database id")
        check_node_id(self.node_id)
        check_text(self.target_id, "target id")

    def __str__(self) -> str:
        return f"node {self.node_id!r} of source {self.source_database_id}"

    def encode(self) -> bytes:
        """Return the record as JSON that people can read."""
        return msgspec.json.format(msgspec.json.encode(self)) + b"\n"


def read_identity(path: Path) -> Identity:
    """Return whose target the directory at `path` is. Changes nothing.

    Raises `InvalidValue` if it is no target, `CorruptRecord` if its identity cannot be believed,
    `UnknownFormat`.
    """
    file = path / IDENTITY_NAME
    with translated(path):
        if not file.is_file():
            raise InvalidValue(f"there is no target at {path}")
        return _decode(file, file.read_bytes())


def find_identity(path: Path, wanted: Identity) -> Identity | None:
    """Return the identity of the target at `path`, None if there is nothing yet.

    Raises `ForeignTarget` if there is something that is not `wanted`'s, `InvalidValue` if `path` is
    not a directory and cannot become one, `CorruptRecord` if identity or CURRENT cannot be
    believed, `UnknownFormat`. Changes nothing.
    """
    with translated(path):
        if not path.exists():
            if not path.parent.is_dir():
                raise InvalidValue(
                    f"{path.parent} is not a directory", hint="create the parent first"
                )
            return None
        if not path.is_dir():
            raise InvalidValue(f"{path} is not a directory", hint="choose another path")
        file = path / IDENTITY_NAME
        found = _decode(file, file.read_bytes()) if file.is_file() else None
        content = sorted({entry.name for entry in os.scandir(path)} - NOT_CONTENT)
    if found is None:
        # A creation that died may have left its CURRENT, which names nothing yet.
        if content and not (content == [CURRENT_NAME] and read_current(path) is None):
            raise ForeignTarget(
                f"{path} is not a target: it has no identity, but {', '.join(content[:3])}",
                hint="choose another directory, or an empty one",
            )
        return None
    if (found.source_database_id, found.node_id) != (wanted.source_database_id, wanted.node_id):
        raise ForeignTarget(
            f"{path} belongs to {found}, not to {wanted}",
            hint="choose another directory, or remove that replica if nobody needs it",
        )
    checked_current(path)
    return found


def _decode(file: Path, data: bytes) -> Identity:
    try:
        head = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        found_format = msgspec.json.decode(head["format"], type=int)
        if found_format > FORMAT:
            raise UnknownFormat(
                f"{file} has format {found_format}, this version reads {FORMAT}",
                hint="a newer version of bootledger wrote it: use that one",
            )
        return msgspec.json.decode(data, type=Identity)
    except (msgspec.MsgspecError, KeyError, InvalidValue, UnicodeDecodeError) as error:
        raise CorruptRecord(
            f"{file} is not an identity record: {error}",
            hint="restore it; without it nobody can tell whose data this is",
        ) from error
