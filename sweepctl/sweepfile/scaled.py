"""What reaches the trainer from a sweep's parameters: overrides and scaled dictionaries.

Checks paths, tables and keys against the grammars that the trainer may have, and points into the
text of a table where the fault is inside. It runs nothing and samples nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from sweepctl.sweepfile.checker import Checker
from sweepctl.sweepfile.document import Path, Unreadable, read_document
from sweepctl_pod.errors import Problem, SpecError, nearest
from sweepctl_pod.overrides import (
    PATH_SUFFIX,
    TABLE_SUFFIX,
    Grammar,
    InexpressibleError,
    Override,
    ScaledDict,
    Value,
    inexpressible_key,
    inexpressible_path,
    key_hint,
    table_number,
)

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
_EXAMPLE_PATH = "env.scene.robot.actuators.legs.stiffness"
_EXAMPLE_TABLE = '{".*_knee_joint": 200.0}'
_EMPTY = "the base dictionary is empty"
_ISAAC_LAB_ROOTS = ("env", "agent", "hydra")


@dataclass(frozen=True, slots=True)
class Trainer:
    """What is known of the trainer: the grammars it may have, and whether it is Isaac Lab."""

    grammars: tuple[Grammar, ...]
    is_isaac_lab: bool


@dataclass(frozen=True, slots=True)
class ScaledParts:
    """Where a scaled dictionary's parts stand: inside the parameter, or as parameters beside it."""

    name: str
    factor_at: Path
    factor: Mapping[str, object]
    around: Path
    """The map that holds the two other parts."""
    parts: Mapping[str, object]


def check_scaled(checker: Checker, trainer: Trainer, scaled: ScaledParts) -> ScaledDict | None:
    """Check a scaled dictionary; give it when it is sound."""
    _check_factor(checker, scaled)
    path = _path(checker, trainer, scaled)
    base = _table(checker, trainer, scaled, path)
    return ScaledDict(scaled.name, path, base) if path and base else None


def check_override_path(
    checker: Checker, trainer: Trainer, at: Path, path: str, *, at_key: bool = False
) -> bool:
    """Tell whether `path` can be an override path of the trainer; complain at `at` if not."""
    reason = inexpressible_path(path)
    if reason:
        checker.error(
            at, f"{path!r} is no override path: {reason}", f"such as {_EXAMPLE_PATH}", at_key=at_key
        )
        return False
    if foreign := foreign_path(trainer, path):
        checker.error(at, *foreign, at_key=at_key)
        return False
    return True


def foreign_path(trainer: Trainer, path: str) -> tuple[str, str] | None:
    """Say, with what to write, that Isaac Lab has no setting of this path, when that is so."""
    root = path.lstrip("+").split(".")[0]
    if not trainer.is_isaac_lab or root in _ISAAC_LAB_ROOTS:
        return None
    near = nearest(root, _ISAAC_LAB_ROOTS)
    hint = f"did you mean {path.replace(root, near, 1)}?" if near else "begin with env. or agent."
    return f"Isaac Lab has no setting {path!r}", hint


def check_override_value(
    checker: Checker, trainer: Trainer, at: Path, name: str, value: object
) -> None:
    """Complain when none of the grammars that the trainer may have can write `name=value`."""
    if _holds_unreadable(value):
        return
    grammars = _grammars_for(trainer, name)
    keys_before = len(checker.problems)
    for place, key in _keys(at, value):
        _check_key(checker, grammars, place, key)
    if len(checker.problems) > keys_before:
        return
    refusals = []
    for grammar in grammars:
        try:
            Override(name, cast(Value, value), name).text(grammar)
        except InexpressibleError as refusal:
            refusals.append(refusal)
    if len(refusals) == len(grammars):
        checker.error(at, refusals[0].message, refusals[0].hint)


def _check_factor(checker: Checker, scaled: ScaledParts) -> None:
    """A factor is a number, whichever the run; W&B's rules for it are checked elsewhere."""
    for key in ("value", "values"):
        given = scaled.factor.get(key)
        items = enumerate(given) if key == "values" and isinstance(given, list) else ()
        for index, item in items:
            checker.number(item, (*scaled.factor_at, key, index))
        if key == "value" and key in scaled.factor:
            checker.number(given, (*scaled.factor_at, key))


def _path(checker: Checker, trainer: Trainer, scaled: ScaledParts) -> str | None:
    name = scaled.name + PATH_SUFFIX
    at, path = _constant(checker, scaled, name, _EXAMPLE_PATH)
    if at is None or not checker.text(path, at):
        return None
    return path if check_override_path(checker, trainer, at, path) else None


def _table(
    checker: Checker, trainer: Trainer, scaled: ScaledParts, path: str | None
) -> dict[str, float] | None:
    at, raw = _constant(checker, scaled, scaled.name + TABLE_SUFFIX, f"'{_EXAMPLE_TABLE}'")
    if at is None:
        return None
    grammars = _grammars_for(trainer, path or "env.")
    if isinstance(raw, str):
        return _text_table(checker, grammars, at, raw)
    return _map_table(checker, grammars, at, raw)


def _map_table(
    checker: Checker, grammars: Sequence[Grammar], at: Path, table: object
) -> dict[str, float] | None:
    if not checker.mapping(table, at, f"write {_EXAMPLE_TABLE}"):
        return None
    if not table:
        checker.error(at, _EMPTY, f"write {_EXAMPLE_TABLE}")
    base: dict[str, float] = {}
    for key, number in table.items():
        _check_key(checker, grammars, (*at, key), key)
        if not checker.number(number, (*at, key)):
            continue
        try:
            base[key] = table_number(key, number)
        except ValueError:
            checker.error((*at, key), "no float has this value", "write a smaller or rounder one")
    return base


def _text_table(
    checker: Checker, grammars: Sequence[Grammar], at: Path, text: str
) -> dict[str, float] | None:
    """Check a table that is JSON text, or YAML's spelling of it, with places inside the text."""
    if not text.strip():
        checker.error(at, _EMPTY, f"write {_EXAMPLE_TABLE}")
        return None
    try:
        inner = read_document("", text.replace("\t", " ").encode())  # JSON may hold tabs
    except SpecError as error:
        _pass_on(checker, at, _as_json_problems(text) or error.problems)
        return None
    value = inner.value
    if isinstance(value, dict):  # a plain 1e-4 is a text to YAML 1.1, and a number to JSON
        value = {
            key: float(number)
            if isinstance(number, str) and inner.is_plain((key,)) and _JSON_NUMBER.fullmatch(number)
            else number
            for key, number in value.items()
        }
    inside = Checker(inner, list(inner.problems))
    base = _map_table(inside, grammars, (), value)
    _pass_on(checker, at, inside.problems)
    return base


def _as_json_problems(text: str) -> list[Problem]:
    """Say what keeps a text that begins as JSON from being JSON; a comma is missed sooner there."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{"):
            message = f"not JSON: {error.msg[0].lower()}{error.msg[1:]}"
            return [Problem("", error.lineno, error.colno, "", message, f"as in {_EXAMPLE_TABLE}")]
    except (ValueError, RecursionError):  # too long an integer, too deep
        pass
    return []


def _pass_on(checker: Checker, at: Path, problems: Sequence[Problem]) -> None:
    """Turn problems in a text into problems at their places in the file that holds the text."""
    for problem in problems:
        offset = (problem.line - 1, problem.column - 1)
        placed = checker.document.problem(at, problem.message, problem.hint, offset=offset)
        path = f"{placed.path}.{problem.path}" if problem.path else placed.path
        checker.add(replace(placed, path=path, is_warning=problem.is_warning))


def _constant(
    checker: Checker, scaled: ScaledParts, name: str, example: str
) -> tuple[Path | None, object]:
    """Give the place and the value of a part of a scaled dictionary; None if there is none."""
    at = (*scaled.around, name)
    if name not in scaled.parts:
        checker.missing(
            scaled.around if scaled.around == scaled.factor_at else scaled.factor_at,
            name,
            f"add {name}: {{value: {example}}}",
            message=f"the scaled dictionary {scaled.name} has no {name}",
        )
        return None, None
    part = scaled.parts[name]
    if isinstance(part, str):
        hint = f"write {name}: {{value: {checker.document.raw(at).strip()[:60]}}}"
    else:
        hint = f"write {name}: {{value: {example}}}"
    if isinstance(part, dict) and "value" not in part and TABLE_SUFFIX in name:
        hint = "put the table below `value:`"
    if not checker.mapping(part, at, hint):
        return None, None
    if "value" not in part:
        checker.error(at, f"{name} has no value", hint, at_key=True)
        return None, None
    checker.known_keys(part, at, ("value", "distribution"))
    if part.get("distribution", "constant") != "constant":
        checker.error((*at, "distribution"), f"{name} is a constant", "remove the distribution")
    return (*at, "value"), part["value"]


def _grammars_for(trainer: Trainer, path: str) -> Sequence[Grammar]:
    """Isaac Lab 3.0 hands what is not below env. or agent. to Hydra: see Override.text."""
    return trainer.grammars if path.startswith(("env.", "agent.")) else (Grammar.HYDRA,)


def _check_key(checker: Checker, grammars: Sequence[Grammar], at: Path, key: str) -> None:
    refused = [inexpressible_key(key, grammar) for grammar in grammars]
    if all(refused):
        checker.error(at, f"{refused[0]}: {key!r}", key_hint(key), at_key=True)


def _holds_unreadable(value: object) -> bool:
    if isinstance(value, (dict, list)):
        return any(map(_holds_unreadable, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Unreadable)


def _keys(at: Path, value: object) -> Iterator[tuple[Path, str]]:
    items = value.items() if isinstance(value, dict) else ()
    for key, item in items:
        yield (*at, key), key
        yield from _keys((*at, key), item)
    for index, item in enumerate(value if isinstance(value, list) else ()):
        yield from _keys((*at, index), item)
