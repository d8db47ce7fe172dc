"""A run's parameters as arguments of the trainer: scaled dictionaries, overrides, the two grammars.

No state. A value is written so that the trainer reads back exactly that value, or it is refused
with a reason; never rounded, never approximated. The tests prove it by parsing back with the real
Hydra parser and with Isaac Lab's own (tests/contract).
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sweepctl_pod.errors import SweepctlError

Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Mapping[str, Value] | None"

PATH_SUFFIX = "_cli_path"
TABLE_SUFFIX = "_base_dict"

MAX_TEXT_BYTES = 131_071
"""Linux refuses a longer argument: MAX_ARG_STRLEN, 32 pages, with its closing NUL."""
MAX_DEPTH = 50
_MAX_INT_BITS = 14_000  # CPython refuses to read integers of more than 4300 digits

_PATH = re.compile(
    r"\+{0,2}[A-Za-z_][A-Za-z0-9_-]*(?:\.(?:[A-Za-z_][A-Za-z0-9_-]*|0|[1-9][0-9]*))*", re.ASCII
)
_BARE_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NOT_BARE = frozenset({"true", "false", "none", "null", "inf", "nan"})

# Hydra 1.3, hydra/grammar/OverrideLexer.g4: what a dictionary key may hold, plain or escaped, and
# which keys the lexer takes for something else than a string.
_HYDRA_KEY_ESCAPED = frozenset("\\()[]{}:=, \t")
_HYDRA_KEY_PLAIN = re.compile(r"[A-Za-z0-9_/\-+.$%*@?|]", re.ASCII)
_HYDRA_KEY_TYPED = re.compile(
    r"true|false|null|[+-]?(?:inf|nan"
    r"|(?:(?:0|[1-9](?:_?\d)*)\.?|(?:0|[1-9](?:_?\d)*)?\.\d(?:_?\d)*)(?:e[+-]?\d(?:_?\d)*)?)",
    re.ASCII | re.IGNORECASE,
)


class Grammar(str, enum.Enum):
    """How a trainer reads `path=value`: a feature of the Isaac Lab that is installed."""

    HYDRA = "hydra"
    """Isaac Lab 2.x: Hydra's own. Types are strict, dictionaries merge."""
    LITERAL = "literal"
    """Isaac Lab 3.0: `env.` and `agent.` values by `ast.literal_eval`; dictionaries replace."""

    def __str__(self) -> str:
        return self.value


class InexpressibleError(SweepctlError):
    """A value, key or path that the trainer's grammar cannot carry exactly."""


@dataclass(frozen=True, slots=True)
class ScaledDict:
    """A table of numbers by joint expression that one sampled factor multiplies."""

    name: str
    path: str
    base: dict[str, float]

    def times(self, factor: float) -> dict[str, float]:
        """Multiply every number of the table; refuse a product that is no finite number."""
        product = {key: number * factor for key, number in self.base.items()}
        for key, number in product.items():
            if not math.isfinite(number):
                raise SweepctlError(
                    f"parameter {self.name}: {factor!r} times {self.base[key]!r} for {key!r} "
                    f"is {number!r}, not a finite number",
                    hint="lower the factor's max or the numbers of the base dictionary",
                )
        return product


@dataclass(frozen=True, slots=True)
class Override:
    """One `path=value` argument of the trainer, and the sweep's parameter that asked for it."""

    path: str
    value: Value
    parameter: str

    def text(self, grammar: Grammar) -> str:
        """Write the argument in `grammar`, or raise InexpressibleError.

        Isaac Lab 3.0 hands every path outside `env.` and `agent.` to real Hydra, so those are
        written in Hydra's grammar whichever is asked for.
        """
        reason = inexpressible_path(self.path)
        if reason:
            raise InexpressibleError(
                f"override {self.path!r} of parameter {self.parameter}: {reason}",
                hint="a path is names joined by dots, such as env.scene.num_envs",
            )
        if not self.path.startswith(("env.", "agent.")):
            grammar = Grammar.HYDRA
        try:
            text = f"{self.path}={_value_text(self.value, grammar, 0)}"
            if isinstance(self.value, str) and is_bare_word(self.value):
                text = f"{self.path}={self.value}"  # a quoted preset name is an unknown preset
            _check_argument(text)
        except _Inexpressible as problem:
            raise InexpressibleError(
                f"override {self.path}: {problem.what} cannot be written in the {grammar} grammar: "
                f"{problem.reason}",
                hint=problem.hint,
            ) from None
        return text


def overrides_from_config(config: Mapping[str, object]) -> list[Override]:
    """Give the overrides of one run, in the order of its parameters.

    `config` is the run's flat {name: value} (`RunParameters.meant`), in the stored form of
    WBC-AGILE's wandb_sweep: a scaled dictionary is the three parameters X, X_cli_path and
    X_base_dict. Any other name with a dot is a path.
    """
    overrides: list[Override] = []
    for name, value in config.items():
        if name.startswith("_") or _is_side_of_another(name, config):
            continue
        if name + PATH_SUFFIX in config or name + TABLE_SUFFIX in config:
            scaled = scaled_dict_from_config(name, config)
            table = scaled.times(_factor(name, value))
            overrides.append(Override(scaled.path, table, name))
        elif "." in name:
            overrides.append(Override(name, _as_value(name, value), name))
    return overrides


def scaled_dict_from_config(name: str, config: Mapping[str, object]) -> ScaledDict:
    """Read the scaled dictionary `name` from its stored form; raise when a part is unusable."""
    for part in (name + PATH_SUFFIX, name + TABLE_SUFFIX):
        if part not in config:
            raise SweepctlError(
                f"scaled dictionary {name}: the run's config has no {part}",
                hint=f"create the sweep again from its file: {name} needs {name}{PATH_SUFFIX} "
                f"and {name}{TABLE_SUFFIX}",
            )
    path = config[name + PATH_SUFFIX]
    if not isinstance(path, str) or inexpressible_path(path):
        raise SweepctlError(
            f"scaled dictionary {name}: {name}{PATH_SUFFIX} is {path!r}, not an override path",
            hint="write a path such as env.scene.robot.actuators.legs.stiffness",
        )
    try:
        return ScaledDict(name, path, read_table(config[name + TABLE_SUFFIX]))
    except ValueError as problem:
        raise SweepctlError(
            f"scaled dictionary {name}: {name}{TABLE_SUFFIX} {problem}",
            hint='a base dictionary is a flat map of numbers: {".*_knee_joint": 200.0}',
        ) from None


def inexpressible_path(path: str) -> str | None:
    """Say why `path` cannot be left of the `=`; None when it can, in both grammars."""
    if _PATH.fullmatch(path):
        return None
    if not path:
        return "the path is empty"
    if ".." in path or path.startswith(".") or path.endswith("."):
        return "a part of the path is empty (a joint expression cannot be part of a path)"
    bad = next((c for c in path.lstrip("+") if not re.match(r"[A-Za-z0-9_.-]", c, re.ASCII)), None)
    return f"{bad!r} cannot stand in a path" if bad else "a part of the path is no name"


def inexpressible_key(key: str, grammar: Grammar) -> str | None:
    """Say why a dictionary cannot have the key `key` in `grammar`; None when it can."""
    if not key:
        return "the key is empty" if grammar is Grammar.HYDRA else None
    if grammar is Grammar.LITERAL:
        return None
    if _HYDRA_KEY_TYPED.fullmatch(key):
        return "Hydra reads this key as a number, a truth value or null"
    for character in key:
        if character not in _HYDRA_KEY_ESCAPED and not _HYDRA_KEY_PLAIN.match(character):
            return f"Hydra's grammar has no way to write {character!r} in a key"
    return None


def key_hint(key: str) -> str:
    """Say what to write instead of a key that Hydra cannot write."""
    core = key.removeprefix("^").removesuffix("$")
    if core != key and not inexpressible_key(core, Grammar.HYDRA):
        return f"write {core!r}: joint expressions are matched in full, so ^ and $ say nothing new"
    return "name the joints with letters, digits and . * + ? | ( ) [ ] { } only"


class _Inexpressible(Exception):
    def __init__(self, what: str, reason: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.reason = reason
        self.hint = hint


def _value_text(value: Value, grammar: Grammar, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise _Inexpressible("a value", f"it is nested more than {MAX_DEPTH} deep")
    is_hydra = grammar is Grammar.HYDRA
    if value is None:
        return "null" if is_hydra else "None"
    if isinstance(value, bool):
        return ("true" if value else "false") if is_hydra else ("True" if value else "False")
    if isinstance(value, int):
        if value.bit_length() > _MAX_INT_BITS:
            raise _Inexpressible(
                f"an integer of {value.bit_length()} bits", "the trainer reads 4300 digits at most"
            )
        return int.__repr__(value)
    if isinstance(value, float):
        return _float_text(value, grammar)
    if isinstance(value, str):
        return _hydra_string(value) if is_hydra else ascii(str(value))
    if isinstance(value, Mapping):
        items = (
            f"{_key_text(key, grammar)}:{_value_text(item, grammar, depth + 1)}"
            for key, item in value.items()
        )
        return "{" + ",".join(items) + "}"
    if isinstance(value, (list, tuple)):
        inner = ",".join(_value_text(item, grammar, depth + 1) for item in value)
        if is_hydra or isinstance(value, list):
            return f"[{inner}]"  # Isaac Lab 2.x makes it a tuple where the default is one
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    raise _Inexpressible(repr(value)[:80], f"a {type(value).__name__} is no value of a parameter")


def _float_text(value: float, grammar: Grammar) -> str:
    if grammar is Grammar.LITERAL and not math.isfinite(value):
        if math.isnan(value):
            raise _Inexpressible("nan", "Python has no literal for it", "choose a finite number")
        return "1e999" if value > 0 else "-1e999"  # `inf` would stay the text 'inf'
    return float.__repr__(value)


def _key_text(key: object, grammar: Grammar) -> str:
    if not isinstance(key, str):
        raise _Inexpressible(f"the key {key!r}", "keys are strings", f"write the key as '{key}'")
    reason = inexpressible_key(key, grammar)
    if reason:
        raise _Inexpressible(f"the key {key!r}", reason, key_hint(key))
    if grammar is Grammar.LITERAL:
        return ascii(str(key))
    return "".join("\\" + c if c in _HYDRA_KEY_ESCAPED else c for c in key)


def _hydra_string(text: str) -> str:
    """Quote a string for Hydra's lexer and, inside it, for OmegaConf's interpolation.

    Hydra halves backslashes only where they run into a quote; OmegaConf only where they run into
    `${`. Everything else stands for itself.
    """
    if text == "???":
        raise _Inexpressible(repr(text), "OmegaConf reads it as a missing value")
    text = re.sub(r"(\\*)\$\{", lambda m: m.group(1) * 2 + "\\${", text)
    text = re.sub(r"(\\*)'", lambda m: m.group(1) * 2 + "\\'", text)
    trailing = len(text) - len(text.rstrip("\\"))
    return "'" + text + "\\" * trailing + "'"


def is_bare_word(text: str) -> bool:
    """Say whether every trainer reads `text`, without quotes, as that text."""
    return bool(_BARE_WORD.fullmatch(text)) and text.lower() not in _NOT_BARE


def _check_argument(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _Inexpressible("a string", "it holds a lone surrogate, which is no text") from None
    if "\0" in text:
        raise _Inexpressible("a string", "an argument of a program cannot hold a NUL character")
    if size > MAX_TEXT_BYTES:
        raise _Inexpressible(
            f"a value of {size} bytes", f"Linux takes {MAX_TEXT_BYTES} bytes an argument at most"
        )


def side_owner(name: str, given: Mapping[str, object]) -> str | None:
    """Give X where `name` is X_cli_path or X_base_dict of a scaled dictionary X.

    It is where X or the other side is given as well. X itself may be missing: what is given is
    not whole then.
    """
    for suffix, other in ((PATH_SUFFIX, TABLE_SUFFIX), (TABLE_SUFFIX, PATH_SUFFIX)):
        owner = name.removesuffix(suffix)
        if owner != name and (owner in given or owner + other in given):
            return owner
    return None


def _is_side_of_another(name: str, config: Mapping[str, object]) -> bool:
    owner = side_owner(name, config)
    if owner is not None and owner not in config:
        raise SweepctlError(
            f"scaled dictionary {owner}: the run's config has {name} but no factor {owner}",
            hint="create the sweep again from its file",
        )
    return owner is not None


def _factor(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SweepctlError(
            f"scaled dictionary {name}: the factor is {value!r}, not a finite number",
            hint=f"give {name} a numeric distribution, such as uniform with min and max",
        )
    return float(value)


def _as_value(name: str, value: object) -> Value:
    """Narrow what JSON gave to a Value; `text` refuses whatever else is inside."""
    if value is None or isinstance(value, (bool, int, float, str, list, tuple, Mapping)):
        return value
    raise SweepctlError(f"parameter {name}: a {type(value).__name__} is no value of a parameter")


# One entry of a table that is YAML rather than JSON: trailing commas, single quotes, no quotes.
_ENTRY = re.compile(
    r"""\s*(?:"(?P<double>(?:[^"\\\n]|\\.)*)"|'(?P<single>(?:[^'\n]|'')*)'|(?P<plain>[^\s"'{}\[\],#][^"'{}\[\],#\n]*?))"""
    r"""\s*:\s+(?P<number>[^\s,{}\[\]#]+)\s*(?:,|\n|\Z)"""
)


def read_table(raw: object) -> dict[str, float]:
    """Read a base dictionary: a map, its JSON text, or the YAML spelling of one found in the wild.

    Raises ValueError with the reason, worded to follow the table's name.
    """
    if isinstance(raw, str):
        text = raw
        try:
            raw = json.loads(
                text, object_pairs_hook=_without_duplicates, parse_int=_integer_or_infinity
            )
        except (json.JSONDecodeError, RecursionError):
            raw = _without_duplicates(list(_yaml_entries(text)))
    if not isinstance(raw, Mapping):
        raise ValueError(f"is {raw!r}, not a map")
    if not raw:
        raise ValueError("is empty")
    return {_table_key(key): table_number(key, number) for key, number in raw.items()}


def table_number(key: object, number: object) -> float:
    """Give a base dictionary's number as a float; raise ValueError with the reason if not one."""
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ValueError(f"has {number!r} for {key!r}, not a number")
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value != number:
        raise ValueError(f"has {number!r} for {key!r}, not a finite float")
    return value


def _table_key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"has the key {key!r}, not a string")
    return key


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table: dict[str, object] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"has the key {key!r} twice")
        table[key] = value
    return table


def _integer_or_infinity(digits: str) -> float:
    return int(digits) if len(digits) < 400 else math.inf  # CPython refuses 4300 digits


def _yaml_entries(text: str) -> Iterator[tuple[str, object]]:
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1]
    inner = inner.strip()
    position = 0
    while position < len(inner):
        entry = _ENTRY.match(inner, position)
        if entry is None:
            raise ValueError("is neither JSON nor a flat map of numbers")
        position = entry.end()
        if entry["double"] is not None:
            key = json.loads(f'"{entry["double"]}"')
        elif entry["single"] is not None:
            key = entry["single"].replace("''", "'")
        else:
            key = entry["plain"]
        try:
            yield key, float(entry["number"])
        except ValueError:
            raise ValueError(f"has {entry['number']!r} for {key!r}, not a number") from None
