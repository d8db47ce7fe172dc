"""YAML text as plain values that still know their place in the file.

Values are read exactly as PyYAML (YAML 1.1) reads them, since that is what W&B reads. What JSON
cannot carry is a problem here, and so is what would blow up: depth, aliases, size. It knows
nothing about sweeps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import yaml
from yaml.constructor import SafeConstructor

from sweepctl_pod.errors import Problem, SpecError
from sweepctl_pod.json_text import number_text as number_text
from sweepctl_pod.json_text import string_text as string_text

Path = tuple[str | int, ...]

MAX_SIZE_BYTES = 256 * 1024
MAX_DEPTH = 50
MAX_VALUES = 50_000
MAX_INTEGER_BITS = 1023
"""Larger integers are infinite to whoever reads JSON numbers as floats."""
MAX_KEY_LENGTH = 1000
"""Of a key as JSON text: PyYAML, and so the stock agent, reads no key of more than 1024 back."""

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SCALARS: dict[str, Callable[[SafeConstructor, yaml.ScalarNode], object]] = {
    "tag:yaml.org,2002:null": SafeConstructor.construct_yaml_null,
    "tag:yaml.org,2002:bool": SafeConstructor.construct_yaml_bool,
    "tag:yaml.org,2002:int": SafeConstructor.construct_yaml_int,
    "tag:yaml.org,2002:float": SafeConstructor.construct_yaml_float,
    "tag:yaml.org,2002:str": SafeConstructor.construct_yaml_str,
}
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGE_TAG = "tag:yaml.org,2002:merge"
_TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
_SYNTAX = (
    (r"'\t' that cannot start", "a tab where YAML takes spaces only", "indent with spaces"),
    ("mapping values are not allowed", None, "put quotes round a text that holds ': '"),
    ("could not find expected ':'", None, "a key needs a colon and a space after it"),
    ("or ']', but got '{'", None, "in [ ] a word with ${…} wants quotes: '${program}'"),
    ("but found another document", "a second document begins here", "one file holds one sweep"),
    ("undefined alias", None, "define it before, as &name"),
    ("while scanning a quoted scalar", None, "close the quote; a text with backslashes wants '…'"),
)
"""Signs of PyYAML's complaints, what to say instead (else its own words) and what to write."""


class Unreadable:
    """Stands for a value that was complained about already: rules pass over it."""


UNREADABLE = Unreadable()


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file that was read: its plain value, the place of everything in it, its problems."""

    file: str
    text: str
    value: object
    nodes: dict[Path, yaml.Node]
    keys: dict[Path, yaml.Node]
    problems: tuple[Problem, ...]

    def problem(
        self,
        path: Path,
        message: str,
        hint: str | None = None,
        *,
        at_key: bool = False,
        offset: tuple[int, int] | None = None,
    ) -> Problem:
        """Make a complaint about what is at `path`, or about the nearest thing round it.

        `offset` is a place in a text that stands there: its (line, column), counted from 0.
        """
        node = self._node(path, at_key)
        line, column = node.start_mark.line, node.start_mark.column
        if offset is not None:
            line, column = self._inside(node, offset)
        return _problem(self.file, self.text, line, column, path, message, hint)

    def is_plain(self, path: Path) -> bool:
        """Tell whether the scalar at `path` stands without quotes."""
        node = self.nodes.get(path)
        return isinstance(node, yaml.ScalarNode) and node.style is None

    def raw(self, path: Path) -> str:
        """Give the scalar at `path` as it stands in the file, before YAML gave it a type."""
        node = self.nodes.get(path)
        return node.value if isinstance(node, yaml.ScalarNode) else ""

    def _node(self, path: Path, at_key: bool) -> yaml.Node:
        while path:
            if at_key and path in self.keys:
                return self.keys[path]
            if path in self.nodes:
                return self.nodes[path]
            path, at_key = path[:-1], True
        return self.nodes[()]

    def _inside(self, node: yaml.Node, offset: tuple[int, int]) -> tuple[int, int]:
        """Turn a place in a scalar's text into a place in the file, as far as that is known."""
        line, column = node.start_mark.line, node.start_mark.column
        if not isinstance(node, yaml.ScalarNode):
            return line, column
        if node.style == "|":
            inner = line + 1 + offset[0]
            indent = _line(self.text, inner).find(_line(node.value, offset[0]))
            return inner, max(indent, 0) + offset[1]
        first = column + (node.style is not None)
        if offset[0] == 0 and _line(self.text, line)[first:].startswith(node.value):
            return line, first + offset[1]
        return line, column


def read_document(file: str, data: bytes) -> Document:
    """Read one YAML document.

    Raises SpecError where nothing can be made of the file; what is wrong in single places is
    kept in `problems`, and stands as UNREADABLE in the value.
    """
    if len(data) > MAX_SIZE_BYTES:
        message = f"the file has {len(data)} bytes; {MAX_SIZE_BYTES} are read at most"
        raise SpecError([_problem(file, "", 0, 0, (), message, "is this the right file?")])
    text = _decoded(file, data)
    try:
        root = _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line, column = _place(text, error.position)
        message = f"not YAML: the character {chr(error.character)!r} is not allowed"
        raise SpecError([_problem(file, text, line, column, (), message, "remove it")]) from None
    except yaml.MarkedYAMLError as error:
        raise SpecError([_syntax_problem(file, text, error)]) from None
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        raise SpecError([_problem(file, text, 0, 0, (), "the file is empty", None)])
    return _Reader(file, text).read(root)


def path_text(path: Path) -> str:
    """Write a path for people: names joined by dots, places in a list in brackets."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{printable(part)}" for part in path]
    return "".join(parts).removeprefix(".")


def printable(text: str) -> str:
    """Give `text` itself, or quoted and escaped where a terminal could not show it."""
    return text if text.isprintable() and text else ascii(text)


def described(value: object) -> str:
    """Say in a few words what a value is, to follow "expected …, found"."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, str):
        return f"the string {_shortened(ascii(value))}"
    if isinstance(value, (int, float)):
        return f"the number {_shortened(number_text(value))}"
    return "a list" if isinstance(value, list) else "a map"


class _Loader(yaml.SafeLoader):
    """Composes nodes as PyYAML does, to a certain depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if parent is not None and self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=parent.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Reader:
    """Turns composed nodes into plain values and keeps the place of each; for one use."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.nodes: dict[Path, yaml.Node] = {}
        self.keys: dict[Path, yaml.Node] = {}
        self.problems: list[Problem] = []
        self.constructor = SafeConstructor()
        self.open: list[yaml.Node] = []
        self.steps = 0

    def read(self, root: yaml.Node) -> Document:
        value = self.value(root, ())
        once = {(p.line, p.column, p.message): p for p in reversed(self.problems)}
        problems = tuple(reversed(once.values()))  # an alias repeats the problems of its anchor
        return Document(self.file, self.text, value, self.nodes, self.keys, problems)

    def value(self, node: yaml.Node, path: Path) -> object:
        self.nodes[path] = node
        self.step(node, path)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        if node.tag not in _COLLECTIONS:
            return self.complain(node, path, f"YAML 1.1 reads this as {node.tag}, which JSON lacks")
        if any(node is outer for outer in self.open):
            return self.complain(node, path, "this alias stands for something that it is part of")
        self.open.append(node)
        if isinstance(node, yaml.MappingNode):
            value: object = self.mapping(node, path)
        else:
            value = [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        self.open.pop()
        return value

    def step(self, node: yaml.Node, path: Path) -> None:
        """Count a value, aliases written out: a few lines of them can stand for billions."""
        self.steps += 1
        message = None
        if self.steps > MAX_VALUES:
            message = f"the file holds more than {MAX_VALUES} values, with every alias written out"
        elif len(self.open) > MAX_DEPTH:
            message = _TOO_DEEP
        if message:
            top = self.nodes[path[:1]]
            raise SpecError([self.complaint(top, path[:1], message, "use fewer aliases (*name)")])

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        """Read a map; what `<<` merges into it yields to its own keys, the first merged wins."""
        merged: dict[str, object] = {}
        merges = [pair for pair in node.value if pair[0].tag == _MERGE_TAG]
        for key_node, _ in merges[1:]:
            self.complain(key_node, path, "a second `<<` in one map", "write <<: [*a, *b]")
        for _, value_node in merges[:1]:
            for source in self.merge_sources(value_node, path):
                merged = {**self.mapping(source, path), **merged}
        own: dict[str, object] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE_TAG:
                continue
            key = self.key(key_node, path)
            if key is None:
                continue
            place = (*path, key)
            if key in own:
                above = key_node.start_mark.line - self.keys[place].start_mark.line
                where = f"{above} line{'s' * (above > 1)} above" if above else "in this line"
                message = f"this key stands {where} already, and YAML keeps only one of them"
                self.complain(key_node, place, message, "remove one of the two")
                continue
            self.keys[place] = key_node
            own[key] = self.value(value_node, place)
        return {**merged, **own}

    def merge_sources(self, node: yaml.Node, path: Path) -> Iterator[yaml.MappingNode]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if any(source is outer for outer in self.open):
                self.complain(source, path, "`<<` merges a map into itself")
            elif not isinstance(source, yaml.MappingNode):
                self.complain(source, path, "`<<` merges maps; this is none", "write <<: *name")
            else:
                self.step(source, path)
                self.open.append(source)
                yield source
                self.open.pop()

    def key(self, node: yaml.Node, path: Path) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self.complain(node, path, "a key is a text, not a list or a map")
            return None
        shown = node.value[:60]
        key = self.scalar(node, (*path, shown))
        if isinstance(key, str) and len(string_text(key)) > MAX_KEY_LENGTH:
            key = self.complain(
                node, (*path, shown), f"the key is longer than {MAX_KEY_LENGTH} characters"
            )
        elif not isinstance(key, (str, Unreadable)):
            message = f"expected a name, found {described(key)}, as YAML 1.1 reads this key"
            hint = f"write '{shown}' in quotes" if shown else "write a name before the colon"
            self.complain(node, (*path, shown), message, hint)
        return key if isinstance(key, str) else None

    def scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        shown = _shortened(node.value)
        if node.tag not in _SCALARS:
            hint = f"write '{shown}' in quotes if it is text" if node.style is None else None
            return self.complain(
                node, path, f"YAML 1.1 reads this as {kind}, which JSON lacks", hint
            )
        try:
            value = _SCALARS[node.tag](self.constructor, node)
        except (ValueError, LookupError, yaml.YAMLError):
            return self.complain(node, path, f"{shown!r} cannot be read as {kind}")
        if isinstance(value, float) and not math.isfinite(value):
            return self.complain(
                node,
                path,
                f"{shown} is not a finite number, and JSON has no other",
                "write a finite one",
            )
        if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
            return self.complain(node, path, "no float is as large as this integer")
        if isinstance(value, str) and _SURROGATE.search(value):
            return self.complain(
                node, path, "half a surrogate pair (\\ud800 to \\udfff) is no text"
            )
        return value

    def complain(
        self, node: yaml.Node, path: Path, message: str, hint: str | None = None
    ) -> Unreadable:
        self.problems.append(self.complaint(node, path, message, hint))
        return UNREADABLE

    def complaint(
        self, node: yaml.Node, path: Path, message: str, hint: str | None = None
    ) -> Problem:
        mark = node.start_mark
        return _problem(self.file, self.text, mark.line, mark.column, path, message, hint)


def _decoded(file: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        line, column = _place(before, len(before))
        message = f"not UTF-8 text: the byte 0x{data[error.start]:02x} ({error.reason})"
        hint = "save the file as UTF-8"
        shown = before + "\ufffd"
        raise SpecError([_problem(file, shown, line, column, (), message, hint)]) from None


def _syntax_problem(file: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    said = ": ".join(part for part in (error.context, error.problem) if part)
    mark, message, hint = error.problem_mark, error.problem, None
    if error.context_mark and (mark is None or not text[mark.index :].strip()):
        mark, message = error.context_mark, said  # at the end of the file there is nothing to see
    for sign, words, advice in _SYNTAX:
        if sign in said:
            message, hint = words or message, advice
    line, column = (mark.line, mark.column) if mark else (0, 0)
    return _problem(file, text, line, column, (), f"not YAML: {message}", hint)


def _problem(
    file: str, text: str, line: int, column: int, path: Path, message: str, hint: str | None
) -> Problem:
    shown = (c if c.isprintable() or c == "\t" else "\ufffd" for c in _line(text, line))
    source = "".join(shown) or None
    return Problem(file, line + 1, column + 1, path_text(path), message, hint, source)


def as_warning(problem: Problem) -> Problem:
    """Give the same complaint as one about something that is legal."""
    return replace(problem, is_warning=True)


def _place(text: str, position: int) -> tuple[int, int]:
    lines = _LINE_BREAK.split(text[:position])
    return len(lines) - 1, len(lines[-1])


def _line(text: str, number: int) -> str:
    lines = _lines(text)
    return lines[number] if number < len(lines) else ""


@lru_cache(maxsize=8)
def _lines(text: str) -> list[str]:
    return _LINE_BREAK.split(text)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
