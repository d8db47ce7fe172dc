"""`--set a.b=c` as Helm reads it: names joined by dots, lists by index or in braces, types by look.

Pure: a flag's text becomes assignments, or a complaint that points into the text. What Helm takes
silently and nobody means (a name that is empty, a gap in a list) is refused here.
https://helm.sh/docs/intro/using_helm/#the-format-and-limitations-of---set
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from sweepctl.sweepfile.document import Path
from sweepctl_pod.errors import Problem, SpecError

FLAG = "--set"
EXAMPLE = "the form is --set image.tag=3.0.0,pythonPath={/a,/b}"

_INDEX = re.compile(r"\[(-?[0-9]+)\]")
_INTEGER = re.compile(r"[-+]?[1-9][0-9]*|[-+]?0")
_MAX_INDEX = 999
_MAX_DEPTH = 30  # Helm's own limit
_INT64 = 2**63

_Place: TypeAlias = "dict[str, object] | list[object]"


@dataclass(frozen=True, slots=True)
class Assignment:
    """One `path=value` of a flag, and the columns (from 1) where path and value begin."""

    path: Path
    value: object
    key_column: int
    column: int


def parse_set(text: str, ordinal: int) -> list[Assignment]:
    """Read the text of the `ordinal`-th flag (from 1), or raise SpecError."""
    return _Parser(text, ordinal).parse()


def set_problem(
    text: str, ordinal: int, column: int, message: str, hint: str | None, path: str = ""
) -> Problem:
    """Make a complaint about a place in a flag; flags are counted as the lines of a file are."""
    return Problem(FLAG, ordinal, column, path, message, hint, text)


def assign(tree: dict[str, object], assignment: Assignment, text: str, ordinal: int) -> None:
    """Put a value into a tree of maps and lists, which are made where the path needs them."""
    place: _Place = tree
    path = assignment.path
    for step, following in zip(path, [*path[1:], None], strict=True):
        if following is None:
            _put(place, step, assignment.value)
            return
        place = _enter(place, step, [] if isinstance(following, int) else {})
        if isinstance(following, int) and following > len(place):
            hint = f"write the items from [0] on: the next is [{len(place)}]"
            message = f"the list has {len(place)} items; [{following}] would leave a gap"
            column = assignment.key_column
            raise SpecError([set_problem(text, ordinal, column, message, hint)])


def _enter(place: _Place, step: str | int, empty: _Place) -> _Place:
    """Give the map or list at `step`; put an empty one there if there is none of its kind."""
    found: object = None
    if isinstance(place, dict):
        found = place.get(str(step))
    elif int(step) < len(place):
        found = place[int(step)]
    if isinstance(found, dict) and isinstance(empty, dict):
        return found
    if isinstance(found, list) and isinstance(empty, list):
        return found
    _put(place, step, empty)
    return empty


def _put(place: _Place, step: str | int, value: object) -> None:
    if isinstance(place, dict):
        place[str(step)] = value
    elif int(step) < len(place):
        place[int(step)] = value
    else:
        place.append(value)


class _Parser:
    """Reads one flag from left to right; for one use."""

    def __init__(self, text: str, ordinal: int) -> None:
        self.text = text
        self.ordinal = ordinal
        self.at = 0

    def parse(self) -> list[Assignment]:
        if not self.text.strip():
            raise self.problem(0, "there is nothing to set", EXAMPLE)
        found = []
        while self.at < len(self.text):
            key_column = self.at + 1
            path = self.path()
            column = self.at + 1
            found.append(Assignment(path, self.value(), key_column, column))
        return found

    def path(self) -> Path:
        """Read up to and with the `=`."""
        path: list[str | int] = []
        while True:
            begin = self.at
            name, stop = self.until(".[=,")
            if stop in ("", ","):
                hint = f"write {name}=VALUE" if name else EXAMPLE
                raise self.problem(begin, f"'{name}' has no value", hint)
            if not name:
                raise self.problem(begin, f"a name is missing before '{stop}'", EXAMPLE)
            path.append(name)
            while stop == "[":
                path.append(self.index())
                stop = self.text[self.at : self.at + 1]
                if stop not in ("[", ".", "="):
                    raise self.problem(self.at, "expected '=', '.' or '[' after ']'", EXAMPLE)
                self.at += 1
            if len(path) > _MAX_DEPTH:
                raise self.problem(begin, f"nested more than {_MAX_DEPTH} deep", EXAMPLE)
            if stop == "=":
                return tuple(path)

    def index(self) -> int:
        """Read `N]`; the bracket before it has been read."""
        begin = self.at - 1
        match = _INDEX.match(self.text, begin)
        if match is None or not 0 <= int(match[1]) <= _MAX_INDEX:
            hint = f"a place in a list is a number from 0 to {_MAX_INDEX}: tolerations[0].key=gpu"
            raise self.problem(begin, "this is no place in a list", hint)
        self.at = match.end()
        return int(match[1])

    def value(self) -> object:
        if not self.text.startswith("{", self.at):
            return _typed(self.until(",")[0])
        begin = self.at
        self.at += 1
        items: list[object] = []
        stop = ","
        while stop == ",":
            item, stop = self.until(",}")
            items.append(_typed(item))
        if stop != "}":
            raise self.problem(begin, "the list does not end", "close it with }")
        if self.at < len(self.text) and self.text[self.at] != ",":
            raise self.problem(self.at, "expected ',' after the list", EXAMPLE)
        self.at += 1
        return [] if items == [""] else items

    def until(self, stops: str) -> tuple[str, str]:
        """Read a text up to one of `stops`, which is passed over; a backslash takes the next as is.

        Gives the text and the stop; "" where the flag ends.
        """
        read = ""
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character in stops:
                return read, character
            if character == "\\" and self.at < len(self.text):
                character = self.text[self.at]
                self.at += 1
            read += character
        return read, ""

    def problem(self, at: int, message: str, hint: str) -> SpecError:
        return SpecError([set_problem(self.text, self.ordinal, at + 1, message, hint)])


def _typed(text: str) -> object:
    """Give the text a type by its look, as Helm does: 1.5 and 007 stay texts."""
    word = text.lower()
    if word in ("true", "false"):
        return word == "true"
    if word == "null":
        return None
    if _INTEGER.fullmatch(text) and -_INT64 <= int(text) < _INT64:
        return int(text)
    return text
