"""What a reader asks of a sweep's page, as it stands in the page's address. Pure.

sort=-reward        the column that orders the runs; with `-` the highest first
where=lr<1e-3       conditions, all of which hold: NAME OP VALUE with OP one of = != < <= > >= ~
range=lr:1e-4..1e-3 the same for an axis of the parallel coordinates, may come several times
over=seed           one line for the runs that differ by this parameter alone
column=lr           a column to show, may come several times; without any, the usual ones
page=2              which hundred of the runs
x=time smooth=0.6 log   how the curves are drawn
"""

from __future__ import annotations

import functools
import math
import re
import urllib.parse
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

_MOST_CONDITIONS = 100
_MOST_CHARACTERS = 8000
"""The link of a group has a condition for each parameter."""
_CONDITION = re.compile(
    r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<name>[^\s!<>=~"]+))\s*(?P<op>!=|<=|>=|=|<|>|~)\s*'
    r'(?:"(?P<text>(?:[^"\\]|\\.)*)"|(?P<value>[^\s"]+))'
)
_AND = re.compile(r"\s+(and|AND|&&)(?=\s)")
_HOW = "a condition is NAME OP VALUE, like lr<1e-3 or state=failed,crashed; OP is = != < <= > >= ~"
ALONG = ("step", "iteration", "time")
SMOOTHINGS = (0.0, 0.3, 0.6, 0.9, 0.97)

Cell = str | float | None
"""What a run has in a column: a number, a text or nothing."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a column's cell must be."""

    column: str
    op: str
    value: str

    def holds(self, cell: Cell) -> bool:
        """Say whether a cell meets it; what is not there meets none."""
        if cell is None:
            return False
        if self.op in ("=", "!="):
            is_one = _is_one_of(cell, *_listed(self.value))
            return is_one or _is_same(cell, self.value) if self.op == "=" else not is_one
        if self.op == "~":
            return self.value.casefold() in written(cell).casefold()
        wanted = number_in(self.value)
        if wanted is None or not isinstance(cell, float):
            return False
        return {
            "<": cell < wanted,
            "<=": cell <= wanted,
            ">": cell > wanted,
            ">=": cell >= wanted,
        }[self.op]

    def __str__(self) -> str:
        return f"{_quoted(self.column)}{self.op}{_quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of an axis: of its numbers, or of its names in their order."""

    column: str
    low: str
    high: str

    def __str__(self) -> str:
        return f"{self.column}:{self.low}..{self.high}"


@dataclass(frozen=True, slots=True)
class TableQuery:
    """What stands in the address, read; `problems` says in sentences what is wrong in it."""

    sort: str = ""
    is_descending: bool = False
    where: str = ""
    conditions: tuple[Condition, ...] = ()
    ranges: tuple[Range, ...] = ()
    over: str = ""
    columns: tuple[str, ...] = ()
    page: int = 1
    x: str = "step"
    smooth: float = 0.0
    is_log: bool = False
    problems: tuple[str, ...] = field(default=(), compare=False)

    def address(self) -> str:
        """Give the query part of a link to this: `?…`, also where there is nothing to say."""
        pairs: list[tuple[str, str]] = []
        if self.sort:
            pairs.append(("sort", ("-" if self.is_descending else "") + self.sort))
        if self.where:
            pairs.append(("where", self.where))
        pairs += [("range", str(each)) for each in self.ranges]
        if self.over:
            pairs.append(("over", self.over))
        pairs += [("column", each) for each in self.columns]
        if self.page > 1:
            pairs.append(("page", str(self.page)))
        return "?" + urllib.parse.urlencode([*pairs, *self.of_curves])

    @property
    def of_curves(self) -> list[tuple[str, str]]:
        """Give the part of it that says how curves are drawn."""
        pairs = [("x", self.x)] if self.x != "step" else []
        if self.smooth:
            pairs.append(("smooth", str(self.smooth)))
        return [*pairs, ("log", "1")] if self.is_log else pairs

    def sorted_by(self, column: str, *, descends_first: bool) -> TableQuery:
        """Give the query that a column's head leads to: the other way round at the second time."""
        is_other = column == self.sort and self.is_descending == descends_first
        return replace(self, sort=column, is_descending=descends_first != is_other, page=1)

    def without(self, part: Range) -> TableQuery:
        """Give the query without a range."""
        return replace(self, ranges=tuple(each for each in self.ranges if each != part), page=1)

    def on_page(self, number: int) -> TableQuery:
        """Give the query of another page."""
        return replace(self, page=number)


def read_query(pairs: Iterable[tuple[str, str]]) -> TableQuery:
    """Read an address; what cannot be read is left out and told."""
    given: dict[str, list[str]] = {}
    problems: list[str] = []
    for name, text in pairs:
        if len(text) > _MOST_CHARACTERS:
            problems.append(f"{name} is longer than {_MOST_CHARACTERS} characters: it is left out")
        elif text:
            given.setdefault(name, []).append(_clean(text))

    def last(name: str, default: str = "") -> str:
        return given.get(name, [default])[-1]

    sort, where = last("sort"), last("where").strip()
    conditions, problem = read_conditions(where)
    problems += [problem] if problem else []
    ranges = []
    for text in given.get("range", [])[:_MOST_CONDITIONS]:
        column, mark, limits = text.rpartition(":")
        low, dots, high = limits.partition("..")
        if mark and dots and low and high:
            ranges.append(Range(column, low, high))
        else:
            problems.append(f"range {text!r} is left out: it is NAME:LOW..HIGH, like lr:0.1..0.5")
    page, x, smooth = last("page", "1"), last("x", "step"), last("smooth", "0")
    if not (page.isascii() and page.isdigit() and 0 < len(page) < 7 and int(page)):
        problems.append(f"page {page!r} is none: it is a number from 1 on")
        page = "1"
    if x not in ALONG:
        problems.append(f"x {x!r} is none of {', '.join(ALONG)}: curves are drawn over steps")
        x = "step"
    weight = number_in(smooth)
    if weight is None or not 0 <= weight < 1:
        problems.append(f"smooth {smooth!r} is no number from 0 to below 1: nothing is smoothed")
        weight = 0.0
    return TableQuery(
        sort=sort.removeprefix("-"),
        is_descending=sort.startswith("-"),
        where=where,
        conditions=conditions,
        ranges=tuple(ranges),
        over=last("over"),
        columns=tuple(dict.fromkeys(given.get("column", [])))[:200],
        page=int(page),
        x=x,
        smooth=weight,
        is_log=last("log") not in ("", "0"),
        problems=tuple(problems),
    )


def read_conditions(text: str) -> tuple[tuple[Condition, ...], str]:
    """Read `where`; the sentence says what is wrong with it, and nothing is filtered then."""
    found: list[Condition] = []
    rest = text
    while rest.strip():
        match = _CONDITION.match(rest)
        if match is None:
            return (), f"where is not understood from {_cut(rest.strip())!r} on: {_HOW}"
        column, op = _unquoted(match, "quoted", "name"), match["op"]
        value = _unquoted(match, "text", "value")
        if op in ("<", "<=", ">", ">=") and number_in(value) is None:
            return (), f"where: {_cut(value)!r} is no number, and {op} compares numbers"
        found.append(Condition(column, op, value))
        rest = rest[match.end() :]
        if rest and not rest[0].isspace():
            return (), f"where is not understood from {_cut(rest)!r} on: {_HOW}"
        joined = _AND.match(rest)
        rest = rest[joined.end() :] if joined else rest
    if len(found) > _MOST_CONDITIONS:
        return (), f"where has more than {_MOST_CONDITIONS} conditions: give fewer"
    return tuple(found), ""


def conditions_text(conditions: Sequence[Condition]) -> str:
    """Write conditions as `read_conditions` reads them."""
    return " ".join(map(str, conditions))


def number_in(text: str) -> float | None:
    """Give the finite number that a text is."""
    try:
        value = float(text.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def written(cell: Cell) -> str:
    """Write a cell so that a condition may name it."""
    return "" if cell is None else cell if isinstance(cell, str) else f"{cell:.12g}"


@functools.lru_cache(maxsize=256)
def _listed(text: str) -> tuple[frozenset[str], tuple[float, ...]]:
    """Read a list of values: what each is as a name, and those that are numbers."""
    parts = text.split(",")
    numbers = {number for each in parts if (number := number_in(each)) is not None}
    return frozenset(each.strip().casefold() for each in parts), tuple(numbers)


def _is_one_of(cell: Cell, names: Collection[str], numbers: Sequence[float]) -> bool:
    if isinstance(cell, float):
        return any(math.isclose(cell, each, rel_tol=1e-9) for each in numbers)
    return written(cell).casefold() in names


def _is_same(cell: Cell, text: str) -> bool:
    if isinstance(cell, float):
        wanted = number_in(text)
        return wanted is not None and math.isclose(cell, wanted, rel_tol=1e-9)
    return written(cell).casefold() == text.strip().casefold()


def _quoted(text: str) -> str:
    if text and not re.search(r'[\s!<>=~"\\]', text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(match: re.Match[str], quoted: str, bare: str) -> str:
    text = match[quoted]
    return str(match[bare]) if text is None else re.sub(r"\\(.)", r"\1", text)


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"


def _clean(text: str) -> str:
    """Give a text that a page can hold."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
