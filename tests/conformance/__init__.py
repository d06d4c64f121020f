"""Walks a folder of the reference's answers and judges ours by them; `walk` is the way in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from conformance import flow, intent_log, manifest, parts, ready_marker, wire
from conformance.verdicts import Verdict, Walker

WALKERS: Mapping[str, Walker] = {
    "flow/cases.json": flow.walk,
    "intent_log/cases.json": intent_log.walk_intent_log,
    "manifest/constructors.json": manifest.walk_constructors,
    "manifest/invalid.json": manifest.walk_invalid,
    "manifest/valid.json": manifest.walk_valid,
    "parts/catchup_mode.json": parts.walk_catchup_mode,
    "parts/layout.json": parts.walk_layout,
    "parts/list_basebackups.json": parts.walk_list_basebackups,
    "parts/stage_recover_read.json": parts.walk_stage_recover_read,
    "parts/tree.json": parts.walk_tree,
    "parts/write_snapshot_parts.json": parts.walk_write_snapshot_parts,
    "ready_marker/marker.json": ready_marker.walk,
    "wire/chunk_encode.json": wire.walk_chunk_encode,
    "wire/error_mapping.json": wire.walk_error_mapping,
    "wire/other_payloads.json": wire.walk_other_payloads,
    "wire/snapshot_broken.json": wire.walk_snapshot_broken,
    "wire/snapshot_sequences.json": wire.walk_snapshot_sequences,
    "wire/snapshot_token.json": wire.walk_snapshot_token,
}
"""Who walks which file, by its name in the folder."""
KINDS = frozenset(name.partition("/")[0] for name in WALKERS)
"""The kinds of answers that a folder has to hold."""


def walk(folder: Path) -> Iterator[tuple[str, Verdict]]:
    """Yield the file and the verdict of every case in `folder`.

    A file that nobody walks, and a walker that breaks down, are wrong verdicts of their own.
    """
    for path in sorted(folder.glob("*/*.json")):
        name = path.relative_to(folder).as_posix()
        walker = WALKERS.get(name)
        if walker is None:
            yield name, Verdict(name, wrong="nobody walks this file")
            continue
        try:
            yield from ((name, verdict) for verdict in walker(path))
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest was not judged
            yield name, Verdict(name, wrong=f"broke down: {type(error).__name__}: {error}")
