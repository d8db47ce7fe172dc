"""Random settings, drawn from the chart's schema: a hypothesis strategy for each of its rules."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st

from sweepctl.values.settings import chart

Schema = Mapping[str, Any]

ODD = [
    "\u0085",
    "\u2028",
    "\ufeff",
    "\x7f",
    "\x00",
    "\ufffd",
    "\U0001f916",
    "é",
    "{{ .x }}",
    "$(A)",
]
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.lists(st.sampled_from([*ODD, "a", " ", "\n", "\t", '"', "'", "\\", ": ", "#"])).map("".join),
    st.sampled_from(
        ["1", "1e3", "true", "y", "null", "~", "0x1f", "2026-01-01", "12:30", "- a", ""]
    ),
)
"""What people may write, and above all what readers of YAML understand in different ways."""

NUMBERS = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False, width=64)
    .filter(lambda number: abs(number) < 1e300)
    # Go writes -0 where Python's YAML knows 0 alone; no field of Kubernetes tells them apart.
    .map(lambda number: number + 0.0),
)
PIECES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(TEXTS.filter(bool), inner, max_size=3)
    ),
    max_leaves=6,
)
"""A part of a Kubernetes object, passed through as it is."""


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    """Draw settings as a values file has them: some keys, the others left out."""
    properties = chart().schema["properties"]
    names = st.sampled_from(sorted(set(properties) - {"sweep", "global"}))
    chosen = draw(st.lists(names, unique=True, max_size=9))
    return {name: draw(_strategy(properties[name], name)) for name in chosen}


def _strategy(rules: Schema, path: str) -> st.SearchStrategy[Any]:
    if "$ref" in rules:
        return _of_definition(rules["$ref"].removeprefix("#/definitions/"))
    found = _unrestricted(rules, path)
    if "oneOf" in rules:
        found = found.filter(lambda value: sum(_matches(r, value) for r in rules["oneOf"]) == 1)
    return (
        found.filter(lambda value: not _matches(rules["not"], value)) if "not" in rules else found
    )


@cache
def _of_definition(name: str) -> st.SearchStrategy[Any]:
    return _strategy(chart().schema["definitions"][name], name)


def _unrestricted(rules: Schema, path: str) -> st.SearchStrategy[Any]:
    if "enum" in rules:
        return st.sampled_from(rules["enum"])
    types = rules["type"] if isinstance(rules["type"], list) else [rules["type"]]
    return st.one_of([_OF_TYPE[kind](rules, path) for kind in types])


def _text(rules: Schema, path: str) -> st.SearchStrategy[str]:
    longest, shortest = rules.get("maxLength", 200), rules.get("minLength", 0)
    if "pattern" in rules:
        # Go's $ stands at the very end, Python's lets a newline follow.
        pattern = re.compile(rules["pattern"].replace("$", r"\Z"), re.ASCII)
        found = st.from_regex(pattern)
    else:
        found = TEXTS
    return found.filter(lambda text: shortest <= len(text) <= min(longest, 200))


def _whole_number(rules: Schema, path: str) -> st.SearchStrategy[float]:
    whole = st.integers(rules["minimum"], rules["maximum"])
    return st.one_of(whole, whole.filter(lambda number: abs(number) < 2**53).map(float))


def _list(rules: Schema, path: str) -> st.SearchStrategy[list[Any]]:
    items = _strategy(rules["items"], f"{path}[]")
    unique = repr if rules.get("uniqueItems") else None
    return st.lists(items, max_size=3, unique_by=unique)


def _map(rules: Schema, path: str) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in rules and "additionalProperties" in rules:
        names = _text({"maxLength": 200, **rules["propertyNames"]}, path)
        wrong = rules["propertyNames"].get("not")
        names = names.filter(lambda name: wrong is None or not _matches(wrong, name))
        return st.dictionaries(names, _strategy(rules["additionalProperties"], path), max_size=3)
    properties = {
        name: _strategy(inner, f"{path}.{name}")
        for name, inner in rules.get("properties", {}).items()
    }
    is_item = "[]" in path
    needed = {name: properties[name] for name in rules.get("required", ()) if is_item}
    optional = {name: inner for name, inner in properties.items() if name not in needed}
    found = st.fixed_dictionaries(needed, optional=optional)
    if not rules.get("additionalProperties", True):
        return found.filter(lambda value: len(value) >= rules.get("minProperties", 0))
    more = st.dictionaries(TEXTS.filter(bool), PIECES, min_size=1, max_size=2)
    return st.builds(lambda known, other: {**other, **known}, found, more)


_OF_TYPE: dict[str, Callable[[Schema, str], st.SearchStrategy[Any]]] = {
    "string": _text,
    "integer": _whole_number,
    "boolean": lambda rules, path: st.booleans(),
    "array": _list,
    "object": _map,
}


def _matches(rules: Schema, value: Any) -> bool:
    """Tell whether a value has what a `not` forbids."""
    if "anyOf" in rules:
        return any(_matches(part, value) for part in rules["anyOf"])
    if "enum" in rules:
        return value in rules["enum"]
    if "pattern" in rules:
        return isinstance(value, str) and re.search(rules["pattern"], value, re.ASCII) is not None
    return all(key in value for key in rules["required"])
