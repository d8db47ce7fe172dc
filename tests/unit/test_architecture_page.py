"""docs/architecture.md against the tree: what it names is there, and nothing is missing in it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sweepctl.jobs.change import DELETED_KINDS
from tests.unit.test_architecture import HOUSE, MODULES, RINGS, ours, room

ROOT = HOUSE.parent
PAGE = ROOT / "docs" / "architecture.md"
POD = "charts/isaac-sweep/files/"
"""Where `sweepctl_pod/…` of the page lies."""
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
FILE = re.compile(r"[a-z][\w./-]*/[\w.-]+\.(py|yaml|json|j2|tpl|sh)")
CALLED = re.compile(r"([A-Za-z_]\w*\.)?[A-Za-z_]\w*\(\)")
CLASS = re.compile(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")


def sections() -> dict[str, str]:
    """Give the page's sections by their headings."""
    _, *parts = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


SECTIONS = sections()
NAMED_FILES = sorted({*filter(FILE.fullmatch, SPAN.findall(PAGE.read_text("utf-8")))})
FLOWS = [heading for heading in SECTIONS if heading.startswith("Flow")]


def items(text: str) -> Iterator[str]:
    """Give each numbered stop of a flow, and each paragraph beside them."""
    yield from filter(None, re.split(r"^(?=\d+\. )|\n\n", text, flags=re.MULTILINE))


def path_of(named: str) -> Path:
    return ROOT / (POD + named if named.startswith("sweepctl_pod/") else named)


@cache
def names_in(path: Path) -> frozenset[str]:
    """Give the functions, classes and methods (`Class.method`) that a file defines."""
    found: set[str] = set()
    if not path.is_file():
        return frozenset()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return frozenset(found)


def where_now(name: str) -> str:
    leaf = name.rpartition(".")[2]
    places = [
        str(path.relative_to(ROOT)).removeprefix(POD)
        for path in MODULES.values()
        if any(name in (known, known.rpartition(".")[2]) for known in names_in(path))
        or leaf in names_in(path)
    ]
    return f"it is in {', '.join(places)}" if places else "nothing has that name any more"


def stops(text: str) -> Iterator[tuple[str, str]]:
    """Give each name of a flow with the file in which the page says that it is.

    That is the file before it in the same stop; a name told of before needs none.
    """
    known: dict[str, str] = {}
    for item in items(text):
        file = ""
        for span in SPAN.findall(item):
            if FILE.fullmatch(span):
                file = span
            elif CALLED.fullmatch(span) or CLASS.fullmatch(span):
                name = span.removesuffix("()")
                is_here = file.endswith(".py") and name in names_in(path_of(file))
                place = file if is_here else known.get(name, file)
                known.setdefault(name, place)
                yield name, place


def test_the_page_has_the_four_flows() -> None:
    told = [heading.partition(": ")[2] for heading in FLOWS]
    assert [words.split(",")[0] for words in told] == [
        *("a scaled dictionary", "a setting", "a metric", "SIGTERM")
    ]


@pytest.mark.parametrize("named", NAMED_FILES)
def test_every_file_that_the_page_names_exists(named: str) -> None:
    assert path_of(named).is_file(), f"docs/architecture.md names {named}"


@pytest.mark.parametrize("flow", FLOWS)
def test_every_stop_of_a_flow_is_where_the_page_says(flow: str) -> None:
    found = list(stops(SECTIONS[flow]))
    assert len(found) > 8
    gone = [
        f"{name} is not in {file or 'any file named before it'}: {where_now(name)}"
        for name, file in found
        if not file.endswith(".py") or name not in names_in(path_of(file))
    ]
    assert not gone, "docs/architecture.md: " + "; ".join(gone)


def picture() -> Iterator[tuple[int, str, list[str]]]:
    """Give the lines of the picture: the ring, the room, the rooms that it imports."""
    ring = -1
    for line in SECTIONS["The rings"].split("```")[1].strip("\n").splitlines():
        label, words = line[:10].split(), line[10:].split()
        ring = int(label[1]) if label else ring
        yield ring, words[0], words[1:]


def test_the_picture_has_every_room_in_its_ring() -> None:
    rooms = {(ring, name) for ring, names in enumerate(RINGS[:-1]) for name in names}
    assert {(ring, name) for ring, name, _ in picture()} == rooms


def test_the_picture_has_every_arrow() -> None:
    for _, name, drawn in picture():
        own = [module for module in MODULES if room(module) == name]
        imported = {room(other) for module in own for other in ours(module)}
        assert set(drawn) == imported - {name, "sweepctl_pod"}, f"what {name} imports"


def test_every_room_has_its_line() -> None:
    text = SECTIONS["The rings"]
    for _, name, _ in picture():
        folder = name if name == "sweepctl_pod" else f"sweepctl/{name}"
        assert f"\n- `{folder}/`: " in text, f"{name} has no line"
    assert "`sweepctl/pod/`" in text
    assert "`sweepctl/__main__.py`" in text


def first_cells(heading: str) -> set[str]:
    rows = re.findall(r"^\| ([^|]+) \|", SECTIONS[heading], re.MULTILINE)
    return {word.strip(" `") for row in rows[2:] for word in row.split(",")}


def test_every_table_of_the_server_is_listed() -> None:
    made: set[str] = set()
    for path in (HOUSE / "server" / "store").glob("*.py"):
        made |= set(re.findall(r"CREATE TABLE (\w+) \(", path.read_text("utf-8")))
    assert first_cells("The server's tables") == made


def test_every_kind_of_object_is_listed() -> None:
    folders = (ROOT / "charts/isaac-sweep/templates", HOUSE / "manifest" / "templates")
    texts = [file.read_text("utf-8") for folder in folders for file in folder.rglob("*.*")]
    kinds = {kind for text in texts for kind in re.findall(r"^kind: (\w+)", text, re.MULTILINE)}
    assert first_cells("The objects in the cluster") == kinds | {"Secret"}
    assert set(DELETED_KINDS) <= kinds | {"Secret"}
