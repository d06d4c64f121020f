"""The walkers of RedDB's payloads, markers and downloads see what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance import WALKERS
from conformance.answers import Json, read_json
from worlds import fresh_place


def wrong_after(vectors: Path, file: str, change: Callable[[Json], None]) -> list[str]:
    """What is wrong with a file of the vectors once it was changed."""
    content = read_json(vectors / file)
    if isinstance(content, list):
        del content[2:]
    change(content)
    with fresh_place() as place:
        shutil.copytree(vectors / Path(file).parent, place / Path(file).parent)
        (place / file).chmod(0o644)
        (place / file).write_text(json.dumps(content))
        return [v.wrong for v in WALKERS[file](place / file) if v.wrong]


def set_in(*path: str | int, to: Json) -> Callable[[Json], None]:
    """Change the value that lies at `path`."""

    def change(content: Json) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("wire/other_payloads.json", set_in(0, "encoded", to="{}")),
        ("wire/other_payloads.json", set_in(0, "kind", to="Unheard")),
        ("wire/other_payloads.json", set_in(0, "direction", to="sideways")),
        ("wire/snapshot_token.json", set_in(0, "lsn", to=11)),
        ("wire/error_mapping.json", set_in(0, "mapped", "kind", to="MissingField")),
        ("wire/chunk_encode.json", set_in(0, "fields", "unheard_of", to=1)),
        ("wire/snapshot_broken.json", set_in(0, "tree_after", to=[])),
        ("wire/snapshot_broken.json", set_in(0, "result", "ok", "chunk_ordinal", to=2)),
        ("wire/snapshot_broken.json", set_in(1, "result", "stage", to="decode_json")),
        ("wire/snapshot_sequences.json", set_in(0, "recovered", to=[0])),
        ("wire/snapshot_sequences.json", set_in(0, "staged_tree", 0, "crc32", to=1)),
        ("ready_marker/marker.json", set_in("encode", 0, "text", to="{}")),
        ("ready_marker/marker.json", set_in("decode", 0, "result", to={"ok": {}})),
        ("ready_marker/marker.json", set_in("promote", 0, "op", to="demote")),
        ("ready_marker/marker.json", set_in("promote", 0, "tree_after", to=[])),
        ("ready_marker/marker.json", set_in("unheard_of", to=[])),
        ("flow/cases.json", set_in(0, "runs", 0, "result", "ok", to=51)),
        ("flow/cases.json", set_in(0, "runs", 0, "result", to={"err": "no"})),
        ("flow/cases.json", set_in(0, "runs", 0, "requests", to=[])),
        ("flow/cases.json", set_in(0, "runs", 0, "config_tree_writes", to=[])),
        ("flow/cases.json", set_in(0, "runs", 0, "replica_tree_after", to=[])),
        ("flow/cases.json", set_in(0, "runs", 0, "faults", to={"0": {"kind": "unheard of"}})),
    ],
)
def test_a_changed_answer_is_seen(vectors: Path, file: str, change: Callable[[Json], None]) -> None:
    """Another value, another kind, another file, or something that nobody knows: one wrong case."""
    assert len(wrong_after(vectors, file, change)) == 1
