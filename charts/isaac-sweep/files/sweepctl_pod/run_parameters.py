"""A run's parameters: as the stock client has them, and as the sweep's own config means them.

Pure. JSON, on a run's way through W&B, may make 1 of 1.0; the sweep's config says which numbers are
floats. Sweeps of WBC-AGILE and of earlier versions have companions as well: a constant X_type that
names the type of X.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.overrides import PATH_SUFFIX, TABLE_SUFFIX, Override, overrides_from_config

TYPE_SUFFIX = "_type"
VALUE_TYPES = ("float", "int", "bool", "str", "json")

_COUNTED = ("constant", "categorical", "categorical_w_probabilities")


@dataclass(frozen=True, slots=True)
class RunParameters:
    """The parameters of one run, {name: value} in W&B's order, without companions."""

    given: Mapping[str, object]
    """Each value as it came: what `${args…}` print, and what the trainer's W&B client reads."""
    forms: Mapping[str, Mapping[str, object]]
    """What the sweep's config says of each parameter, companions included."""

    def meant(self) -> dict[str, object]:
        """Give the values for overrides: each number of the type that the sweep's config means."""
        return {name: self._meant(name, value) for name, value in self.given.items()}

    def overrides(self) -> list[Override]:
        """Give the run's overrides."""
        return overrides_from_config(self.meant())

    def _meant(self, name: str, value: object) -> object:
        companion = name + TYPE_SUFFIX
        is_typed = type_owner(companion, self.forms) == name
        kind = self.forms[companion]["value"] if is_typed else "float"
        try:
            return _of_type(value, kind) if is_typed else _as_sampled(value, self.forms[name])
        except (ValueError, OverflowError, RecursionError) as problem:
            source = companion if is_typed else "its distribution"
            raise SweepctlError(
                f"parameter {name}: {value!r} is not of the type {kind} that {source} names "
                f"({problem})"
            ) from None


def run_parameters(config: Mapping[str, object], parameters: object) -> RunParameters:
    """Read a run's config by the `parameters` of its sweep's config.

    A parameter that the sweep's config lacks counts as a constant.
    """
    stated = parameters if isinstance(parameters, Mapping) else {}
    forms = {name: form for name, form in stated.items() if isinstance(form, Mapping)}
    forms = {**{name: {"value": value} for name, value in config.items()}, **forms}
    given = {name: value for name, value in config.items() if type_owner(name, forms) is None}
    return RunParameters(given, forms)


def type_owner(name: str, parameters: Mapping[str, object]) -> str | None:
    """Give X where `name` is a companion X_type, which names the type of X and is no parameter.

    It is a constant of the sweep that names a type which X's values are of. Where X is no
    override and no factor of a scaled dictionary that is `float` alone, as WBC-AGILE writes it.
    """
    owner = name.removesuffix(TYPE_SUFFIX)
    form, spec = parameters.get(name), parameters.get(owner)
    if owner == name or not isinstance(form, Mapping) or not isinstance(spec, Mapping):
        return None
    kind = form.get("value")
    if kind not in VALUE_TYPES or not _may_be_of_type(kind, spec):
        return None
    is_scaled = owner + PATH_SUFFIX in parameters and owner + TABLE_SUFFIX in parameters
    is_override = "." in owner and not owner.startswith("_")
    return owner if is_override or is_scaled or kind == "float" else None


def tells_type(spec: Mapping[str, object], kind: object) -> bool:
    """Say whether a parameter's own form shows already that its values are of a type."""
    if kind == "float":
        return _is_float(spec)
    leaves = list(_leaves(spec))
    if kind == "int":
        is_whole = bool(leaves) and all(type(leaf) is int for leaf in leaves)
        return is_whole or distribution_of(spec) == "int_uniform"
    return kind == "str" or (kind == "bool" and all(isinstance(leaf, bool) for leaf in leaves))


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


def _as_sampled(value: object, spec: Mapping[str, object]) -> object:
    """Give a value as the parameter's form samples it: 1 is 1.0 again where that gives floats."""
    nested = spec.get("parameters")
    if isinstance(nested, Mapping):
        if not isinstance(value, Mapping):
            return value
        return {
            key: _as_sampled(item, nested[key]) if isinstance(nested.get(key), Mapping) else item
            for key, item in value.items()
        }
    kind = distribution_of(spec)
    if kind in _COUNTED:
        same = [choice for choice in _choices(spec) if _is_same(value, choice)]
        if same and all(repr(choice) == repr(same[0]) for choice in same):
            return same[0]
    if kind == "int_uniform":
        return _of_type(value, "int")
    return _floats(value) if _is_float(spec) else value


def _of_type(value: object, kind: object) -> object:
    if kind == "float":
        return _floats(value)
    if kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "bool" and value in (0, 1):
        return bool(value)
    if kind == "json" and isinstance(value, str):
        return json.loads(value)
    return value


def _floats(value: object) -> object:
    """Make every integer in `value` a float, where that changes its type only."""
    if isinstance(value, int) and not isinstance(value, bool):
        if float(value) != value:
            raise ValueError("no float is equal to it")
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_floats(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _floats(item) for key, item in value.items()}
    return value


def _is_float(spec: Mapping[str, object]) -> bool:
    """Say whether a parameter gives floats and nothing else."""
    kind = distribution_of(spec)
    if kind in _COUNTED:
        numbers = [leaf for leaf in _leaves(spec) if _is_number(leaf)]
        return bool(numbers) and all(isinstance(number, float) for number in numbers)
    if kind is None:  # one bound is an integer, which W&B's server takes for a range of floats
        return _is_number(spec.get("min")) and _is_number(spec.get("max"))
    # W&B draws integers where q is one.
    return kind != "int_uniform" and not isinstance(spec.get("q"), int)


def _may_be_of_type(kind: str, spec: Mapping[str, object]) -> bool:
    if distribution_of(spec) not in _COUNTED:
        return kind in ("float", "int") and "parameters" not in spec
    leaves = list(_leaves(spec))
    if kind in ("float", "int"):
        return any(_is_number(leaf) for leaf in leaves)
    if kind == "bool":
        return all(leaf in (0, 1) for leaf in leaves)
    return all(isinstance(leaf, str) for leaf in leaves)


def _choices(spec: Mapping[str, object]) -> Sequence[object]:
    if "value" in spec:
        return [spec["value"]]
    values = spec.get("values")
    return values if isinstance(values, list) else []


def _leaves(spec: Mapping[str, object]) -> Iterator[object]:
    """Give what the values of a parameter are made of, lists and maps taken apart."""
    pending = list(_choices(spec))
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, (list, tuple)):
            pending += value
        else:
            yield value


def _is_same(one: object, other: object) -> bool:
    """Say whether two values are the same JSON, where 1 and 1.0 are the same number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if _is_number(one) and _is_number(other):
        return one == other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return type(one) is type(other) and one == other


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
