"""A sweep file's content as W&B stores it: scaled dictionaries flattened, types kept.

Ring 0: `spec` uses it after its checks, and the pod where nobody has checked the file before. It
refuses what it cannot flatten, and judges nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from sweepctl.errors import SweepctlError
from sweepctl.overrides import PATH_SUFFIX, TABLE_SUFFIX, TYPE_SUFFIX, VALUE_TYPES, read_table

DEFAULT_PROJECT = "sweeps"
"""The project of a sweep whose file and settings name none."""

PLACEHOLDER_ENTITY = "YOUR_WANDB_ENTITY"
"""What the sweep files of this form's inventors have where their users' entity is to stand."""

PARAMETER_KEYS = (
    *("distribution", "value", "values", "probabilities"),
    *("min", "max", "q", "mu", "sigma", "a", "b", "parameters"),
)
_COUNTED = ("constant", "categorical", "categorical_w_probabilities")
_NOT_RAW = re.compile("[\x7f-\uffff]")
_CHECK = "sweepctl validate names every problem of a sweep file"


def stored_config(root: object) -> dict[str, object]:
    """Give a sweep file's content in W&B's stored form."""
    if not isinstance(root, Mapping):
        raise SweepctlError("the sweep file is not a map", _CHECK)
    parameters = root.get("parameters")
    if not isinstance(parameters, Mapping):
        raise SweepctlError("the sweep file has no map of parameters", _CHECK)
    config = {str(key): value for key, value in root.items()}
    if config.get("entity") == PLACEHOLDER_ENTITY:
        del config["entity"]
    return {**config, "parameters": stored_parameters(parameters)}


def stored_parameters(given: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Flatten the parameters of a sweep file; those that are parts of others follow them."""
    config: dict[str, dict[str, object]] = {}
    for name, spec in given.items():
        if _is_part(name, given):
            continue
        if not isinstance(spec, Mapping):
            raise SweepctlError(f"parameters.{name} is not a map", _CHECK)
        kind = distribution_of(spec)
        own = {key: value for key, value in spec.items() if key in PARAMETER_KEYS}
        if kind in ("int_uniform", "uniform"):
            own["distribution"] = kind  # as W&B's client does before it sends
        config[name] = own
        sides = _sides(name, spec, given)
        config.update(sides or _type(name, spec, given, kind))
    return config


def config_text(config: Mapping[str, object]) -> str:
    """Write a config as JSON text that PyYAML reads to equal values as well.

    W&B stores what it is sent, and agents read it as YAML 1.1, where 1e-05 is a text.
    """
    return json_text(config, 0) + "\n"


def json_text(value: object, depth: int = 3) -> str:
    """Write a value as JSON that YAML 1.1 reads alike; from a depth of 3 on in one line."""
    if isinstance(value, str):
        return string_text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return number_text(value)
    if isinstance(value, Mapping):
        items = [f"{string_text(key)}: {json_text(item, depth + 1)}" for key, item in value.items()]
        opening, closing = "{", "}"
    elif isinstance(value, Sequence):
        items = [json_text(item, depth + 1) for item in value]
        opening, closing = "[", "]"
    else:
        raise TypeError(f"{type(value).__name__} is nothing that JSON has")
    if not items or depth > 2:
        return opening + ", ".join(items) + closing
    indent = "\n" + "  " * depth
    return opening + indent + "  " + f",{indent}  ".join(items) + indent + closing


def distribution_of(spec: Mapping[str, object]) -> str | None:
    """Give the distribution that a parameter names or, as in W&B's client, that its keys imply."""
    if "parameters" in spec:
        return None
    if "distribution" in spec:
        return str(spec["distribution"])
    if "value" in spec:
        return "constant"
    if "values" in spec:
        return "categorical_w_probabilities" if "probabilities" in spec else "categorical"
    bounds = (spec.get("min"), spec.get("max"))
    for kind, type_ in (("int_uniform", int), ("uniform", float)):
        if all(isinstance(bound, type_) and not isinstance(bound, bool) for bound in bounds):
            return kind
    return None


def type_hint(name: str, spec: Mapping[str, object], kind: str | None) -> object:
    """Give the type to keep where JSON, on its way through W&B, may make 1 of 1.0."""
    if "type" in spec:
        return spec["type"]
    return "float" if "." in name and _is_float(spec, kind) else None


def is_type(spec: object) -> bool:
    """Tell whether a parameter X_type keeps the type of X."""
    return isinstance(spec, Mapping) and spec.get("value") in VALUE_TYPES


def part_owner(name: str, given: Mapping[str, object]) -> str | None:
    """Give X for the X_cli_path and X_base_dict of a scaled dictionary and for X's X_type."""
    for suffix, other in ((PATH_SUFFIX, TABLE_SUFFIX), (TABLE_SUFFIX, PATH_SUFFIX)):
        owner = name.removesuffix(suffix)
        if owner != name and (owner in given or owner + other in given):
            return owner
    owner = name.removesuffix(TYPE_SUFFIX)
    return owner if owner != name and owner in given and is_type(given[name]) else None


def number_text(value: float) -> str:
    """Write a number so that JSON and YAML 1.1 read the same one back: 1e-05 is 1.0e-05."""
    if isinstance(value, int):
        return int.__repr__(value)
    mantissa, e, exponent = float.__repr__(value).partition("e")
    return mantissa + (".0" if e and "." not in mantissa else "") + e + exponent


def string_text(value: str) -> str:
    """Write a string so that JSON and YAML 1.1 read the same one back.

    PyYAML takes an escaped surrogate pair for two characters, and no raw control character.
    """
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_RAW.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _is_part(name: str, given: Mapping[str, object]) -> bool:
    owner = part_owner(name, given)
    if owner is not None and owner not in given:
        raise SweepctlError(
            f"parameters.{name} is a part of the scaled dictionary {owner}, which is not there",
            _CHECK,
        )
    return owner is not None


def _sides(
    name: str, spec: Mapping[str, object], given: Mapping[str, object]
) -> dict[str, dict[str, object]]:
    """Give the path and the table of a scaled dictionary; nothing for another parameter."""
    keys = (name + PATH_SUFFIX, name + TABLE_SUFFIX)
    inside = any(key in spec for key in keys)
    parts = [(spec if inside else given).get(key) for key in keys]
    if parts == [None, None]:
        return {}
    values = [part.get("value") if isinstance(part, Mapping) else None for part in parts]
    for key, value in zip(keys, values, strict=True):
        if value is None:
            raise SweepctlError(f"the scaled dictionary {name} has no value for {key}", _CHECK)
    try:
        table = read_table(values[1])
    except ValueError as problem:
        raise SweepctlError(f"{keys[1]} {problem}", _CHECK) from None
    return {keys[0]: {"value": values[0]}, keys[1]: {"value": json.dumps(table)}}


def _type(
    name: str, spec: Mapping[str, object], given: Mapping[str, object], kind: str | None
) -> dict[str, dict[str, object]]:
    key = name + TYPE_SUFFIX
    own = given.get(key)
    if isinstance(own, Mapping) and is_type(own):
        return {key: dict(own)}
    hint = type_hint(name, spec, kind)
    return {key: {"value": hint}} if hint is not None and key not in given else {}


def _is_float(spec: Mapping[str, object], kind: str | None) -> bool:
    """Tell whether a parameter gives floats and nothing else."""
    if kind in _COUNTED:
        numbers = list(_numbers(spec.get("value", spec.get("values"))))
        return bool(numbers) and all(isinstance(number, float) for number in numbers)
    # W&B draws integers where q is one.
    return kind not in (None, "int_uniform") and not isinstance(spec.get("q"), int)


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value
