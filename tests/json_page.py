"""Writes docs/json.md from the types of the answers: `python tests/json_page.py`."""

from __future__ import annotations

import json
from pathlib import Path

from bootledger.cli.answers import ANSWERS
from bootledger.cli.app import MODULES
from bootledger.cli.schema import schema_of

PAGE = Path(__file__).parent.parent / "docs" / "json.md"
MARK = "<!-- Everything below is generated: make pages -->\n"
_UNITS = {
    "_at_ms": "ms since 1970",
    "since_ms": "ms since 1970",
    "_ms": "ms",
    "bytes_per_s": "bytes/s",
    "changes_per_s": "changes/s",
    "_bytes": "bytes",
    "lsn": "LSN",
    "lsn_hint": "LSN",
    "_changes": "changes",
    "share": "0 to 1",
    "_s": "s",
}

Schema = dict[str, "Schema"]


def current_page() -> str:
    """Return what docs/json.md must be: its words as they are, then what the types say now."""
    words, mark, _ = PAGE.read_text().partition(MARK)
    assert mark, f"{PAGE} has lost its mark"
    schemas = {command: json.loads(schema_of(command)) for command in ANSWERS}
    shared = {name: kind for schema in schemas.values() for name, kind in schema["$defs"].items()}
    parts = ["## The commands", "", "| command | prints |", "|---|---|"]
    for command, schema in schemas.items():
        assert command.removesuffix("-reddb").removesuffix("-intents") in MODULES
        parts.append(f"| `{command}` | {_kind(schema)} |")
    parts += ["", "## The types"]
    for name in sorted(shared):
        parts += _type(name, shared[name])
    return words + MARK + "\n" + "\n".join(parts) + "\n"


def _type(name: str, schema: Schema) -> list[str]:
    lines = ["", f"### {name}", "", " ".join(str(schema.get("description", "")).split())]
    if "enum" in schema:
        return [*lines, "", "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + "."]
    if "prefixItems" in schema:
        items = ", ".join(_kind(item) for item in schema["prefixItems"])
        return [*lines, "", f"An array of {items}."]
    lines += ["", "| field | type | unit |", "|---|---|---|"]
    for field, kind in schema["properties"].items():
        unit = next((unit for end, unit in _UNITS.items() if field.endswith(end)), "")
        may_miss = "" if field in schema.get("required", ()) else " (may be missing)"
        lines.append(f"| `{field}` | {_kind(kind)}{may_miss} | {unit} |")
    return lines


def _kind(schema: Schema) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array" and "items" in schema and schema["items"]:
        return f"array of {_kind(schema['items'])}"
    if schema.get("type") == "object":
        return f"object of {_kind(schema.get('additionalProperties', {}))}"
    return str(schema.get("format") or schema.get("type") or "any value")


if __name__ == "__main__":
    PAGE.write_text(current_page())
