"""Where the artefacts of an intent are: its target, as the begin recorded it or a person says."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from bootledger.errors import ForeignTarget, InvalidValue, TargetChanged
from bootledger.positions import check_text
from bootledger.replica.identity import Identity, read_identity
from bootledger.replica.target import Target
from bootledger.statemachine.events import Begin
from bootledger.statemachine.target_ref import TargetRef


def ref_of(target: Target) -> TargetRef:
    """Return what a begin records about its target; no path where it cannot be written as text."""
    try:
        path = check_text(str(target.path), "target path")
    except InvalidValue:
        path = None
    return TargetRef(target.identity.target_id, path)


def check_target(intent_id: UUID, begin: Begin, target: Target) -> None:
    """Raise `TargetChanged` if the intent began with another target than this one."""
    if begin.target is not None and begin.target.target_id != target.identity.target_id:
        raise TargetChanged(
            f"intent {intent_id} of node {begin.node_id!r} began with the target "
            f"{_name(begin.target)}, this is {target.path}",
            hint="replicate into that target, or abort the intent; a node is one replica",
        )


def find_target(intent_id: UUID, begin: Begin, told: Path | None = None) -> tuple[Path, Identity]:
    """Return the directory of the intent's target and whose it is. Changes nothing.

    `told` says where it is if it was moved, or the begin does not say. Raises `InvalidValue` if
    nobody says, or there is no target; `ForeignTarget` if it is another one; `CorruptRecord` or
    `UnknownFormat` if its identity cannot be believed.
    """
    recorded = begin.target
    path = told or (Path(recorded.path) if recorded and recorded.path else None)
    if path is None:
        raise InvalidValue(
            f"intent {intent_id} does not say where its target is",
            hint="name the target; if it is gone, abort the intent",
        )
    if not path.is_dir():
        raise InvalidValue(
            f"there is no target at {path}",
            hint="name the target if it was moved; if it is gone, abort the intent",
        )
    identity = read_identity(path)
    if identity.node_id != begin.node_id or (
        recorded is not None and identity.target_id != recorded.target_id
    ):
        raise ForeignTarget(
            f"{path} belongs to {identity}, it is not the target of intent {intent_id}",
            hint="name the target that the intent began with",
        )
    return path, identity


def _name(target: TargetRef) -> str:
    return target.path or f"with the id {target.target_id}"
