"""A sweep file's content as W&B stores it: what `wandb sweep` sends, scaled dictionaries flattened.

The command line uses it after its checks, the pod where nobody has checked the file. It refuses
what it cannot flatten, and checks nothing else. It adds no parameter to the user's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.json_text import json_text
from sweepctl_pod.overrides import PATH_SUFFIX, TABLE_SUFFIX, read_table, side_owner
from sweepctl_pod.run_parameters import TYPE_SUFFIX, distribution_of, tells_type, type_owner

DEFAULT_PROJECT = "uncategorized"
"""The project of a sweep whose file and settings name none, as W&B calls it."""

PLACEHOLDER_ENTITY = "YOUR_WANDB_ENTITY"
"""The placeholder for the user's entity in the sweep files of WBC-AGILE."""

PARAMETER_KEYS = (
    *("distribution", "value", "values", "probabilities"),
    *("min", "max", "q", "mu", "sigma", "a", "b", "parameters"),
)
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
    _make_whole(config, "run_cap")
    if isinstance(early := config.get("early_terminate"), Mapping):
        config["early_terminate"] = early = dict(early)
        _make_whole(early, "min_iter", "max_iter")
    return {**config, "parameters": stored_parameters(parameters)}


def stored_parameters(given: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Flatten the parameters of a sweep file: the parts inside of a scaled dictionary follow it."""
    config: dict[str, dict[str, object]] = {}
    for name, spec in given.items():
        if not isinstance(spec, Mapping):
            raise SweepctlError(f"parameters.{name} is not a map", _CHECK)
        _check_owner(name, given)
        inside = _sides(name, spec, given)
        own = {key: value for key, value in spec.items() if key not in inside}
        if isinstance(own.get("type"), str):
            del own["type"]
        kind = distribution_of(spec)
        if kind in ("int_uniform", "uniform"):
            own["distribution"] = kind  # as W&B's client does before it sends
        config[name] = {key: _sorted(value) for key, value in own.items()}
        config.update(inside or _type(name, spec, given))
    return config


def config_text(config: Mapping[str, object]) -> str:
    """Write a config as JSON text that PyYAML reads to equal values as well.

    W&B stores what it is sent, and agents read it as YAML 1.1, where 1e-05 is a text.
    """
    return json_text(config, 0) + "\n"


def part_owner(name: str, given: Mapping[str, object]) -> str | None:
    """Give X for the X_cli_path and X_base_dict of a scaled dictionary and for X's X_type."""
    return side_owner(name, given) or type_owner(name, given)


def _sorted(value: object) -> object:
    """Sort the maps in a value by their keys, as W&B's client does before it sends."""
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value, key=str)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _make_whole(rules: dict[str, object], *keys: str) -> None:
    """Make 10 of 10.0, which W&B's schema takes for a whole number."""
    for key in keys:
        if isinstance(value := rules.get(key), float) and value.is_integer():
            rules[key] = int(value)


def _check_owner(name: str, given: Mapping[str, object]) -> None:
    owner = part_owner(name, given)
    if owner is not None and owner not in given:
        raise SweepctlError(
            f"parameters.{name} is a part of the scaled dictionary {owner}, which is not there",
            _CHECK,
        )


def _sides(
    name: str, spec: Mapping[str, object], given: Mapping[str, object]
) -> dict[str, dict[str, object]]:
    """Give the path and the table inside of a scaled dictionary; those beside it are sent as they
    are, and only looked at here.
    """
    keys = (name + PATH_SUFFIX, name + TABLE_SUFFIX)
    is_inside = any(key in spec for key in keys)
    parts = [(spec if is_inside else given).get(key) for key in keys]
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
    stored: tuple[object, ...] = (values[0], json.dumps(table))
    return {k: {"value": v} for k, v in zip(keys, stored, strict=True)} if is_inside else {}


def _type(
    name: str, spec: Mapping[str, object], given: Mapping[str, object]
) -> dict[str, dict[str, object]]:
    """Give the companion that WBC-AGILE's key `type` asks for, where the rest does not tell it."""
    kind, key = spec.get("type"), name + TYPE_SUFFIX
    if not isinstance(kind, str) or "." not in name or key in given or tells_type(spec, kind):
        return {}
    return {key: {"value": kind}}
