"""What other tools make of a diagram: each format is read back by the one it is written for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest

MERMAID = Path(__file__).parent / "mermaid"
SVG = "{http://www.w3.org/2000/svg}"


class Seen(NamedTuple):
    """A diagram as a tool shows it: names of states, and edges with their texts, sorted."""

    states: list[str]
    initial: list[str]
    final: list[str]
    edges: list[tuple[str, str, str]]


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test, loudly, on a machine without these programs."""
    missing = [program for program in programs if shutil.which(program) is None]
    if "node" in programs and not (MERMAID / "node_modules").is_dir():
        missing.append("mermaid (npm ci in tests/mermaid)")
    return pytest.mark.skipif(
        bool(missing), reason=f"NOT CHECKED ON THIS MACHINE, for want of {', '.join(missing)}"
    )


def run(*command: str | Path, text: str) -> str:
    """Return what a program writes, given `text`; show its complaint if it fails."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def mermaid_sees(texts: Sequence[str]) -> list[Seen]:
    """Return what the real Mermaid understands, in one start of it."""
    found = json.loads(run("node", MERMAID / "read.js", text=json.dumps(texts)))
    return [_of_mermaid(answer, text) for answer, text in zip(found, texts, strict=True)]


def mermaid_hears(text: str) -> list[str]:
    """Return the messages and notes that the real Mermaid finds in a sequence diagram."""
    (found,) = json.loads(run("node", MERMAID / "read.js", text=json.dumps([text])))
    assert "error" not in found, f"{found['error']}\n{text}"
    return [str(words) for words in found["messages"]]


def _of_mermaid(answer: dict, text: str) -> Seen:
    assert "error" not in answer, f"{answer['error']}\n{text}"
    names = {identifier: said or identifier for identifier, said in answer["states"]}
    names |= {"root_start": "*start", "root_end": "*end"}  # as Mermaid calls both ends
    edges = [
        (names[source], names[target], line)
        for source, target, label in answer["edges"]
        for line in label.split("<br>")
    ]
    return _seen(list(names.values()), edges, start="*start", end="*end")


def _seen(states: list[str], edges: list[tuple[str, str, str]], *, start: str, end: str) -> Seen:
    return Seen(
        states=sorted({*states} - {start, end}),
        initial=[target for source, target, _ in edges if source == start],
        final=sorted(source for source, target, _ in edges if target == end),
        edges=sorted(edge for edge in edges if edge[0] != start and edge[1] != end),
    )


def graphviz_sees(text: str) -> Seen:
    """Return what Graphviz draws: the words in its picture, and what they stand beside."""
    root = ET.fromstring(run("dot", "-Tsvg", text=text))
    groups = [group for group in root.iter(f"{SVG}g") if group.get("class") in ("node", "edge")]
    names = {_title(g): _words(g) for g in groups if g.get("class") == "node"}
    drawn = [(*_title(g).split("->"), _words(g)) for g in groups if g.get("class") == "edge"]
    borders = {
        names[_title(g)]: len(g.findall(f"{SVG}path")) for g in groups if g.get("class") == "node"
    }
    names["_initial"] = "_initial"
    seen = _seen(
        list(names.values()),
        [(names[source], names[target], label) for source, target, label in drawn],
        start="_initial",
        end="",
    )
    return seen._replace(final=sorted(state for state, count in borders.items() if count == 2))


def _title(group: ET.Element) -> str:
    return group.findtext(f"{SVG}title", "")


def _words(group: ET.Element) -> str:
    return " ".join(text.text or "" for text in group.iter(f"{SVG}text")).replace("\xa0", " ")


def plantuml_sees(texts: Sequence[str]) -> list[Seen]:
    """Return what PlantUML draws, in one start of it: it is a program in Java."""
    svgs = run("plantuml", "-tsvg", "-pipe", text="".join(texts)).split("<?xml ")[1:]
    return [_of_plantuml(f"<?xml {svg}", text) for svg, text in zip(svgs, texts, strict=True)]


def _of_plantuml(svg: str, text: str) -> Seen:
    words: list[list[str]] = [[]]
    links: list[list[str]] = []
    for element in ET.fromstring(svg).iter():
        # States come first; what is written between two links belongs to the first of them.
        if element.tag == f"{SVG}path" and "->" in element.get("id", ""):
            links.append(re.sub(r"-\d+$", "", element.get("id", "")).split("->"))
            words.append([])
        elif element.tag == f"{SVG}text":
            words[-1].append((element.text or "").replace("\xa0", " "))
    states, *labels = words
    names = dict(zip(re.findall(r" as (\w+)$", text, re.MULTILINE), states, strict=True))
    names |= {"*start": "*start", "*end": "*end"}
    edges = [
        (names[source], names[target], " ".join(lines))
        for (source, target), lines in zip(links, labels, strict=True)
    ]
    return _seen(states, edges, start="*start", end="*end")


def scxml_walks(walks: Sequence[tuple[str, Sequence[str]]]) -> list[list[str]]:
    """Return in which states another library's machines stand, at first and after each event.

    Each is built from a document. That library's name is that of a room: it gets its own process.
    """
    runner = Path(__file__).parent / "scxml_runner.py"
    found: list[list[str]] = json.loads(
        run(sys.executable, "-P", runner, text=json.dumps(list(walks)))
    )
    return found
