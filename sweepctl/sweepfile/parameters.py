"""The `parameters` of a sweep: from the file's form to W&B's flat, stored form.

Each is checked as W&B's parameter (`rules`) and as what reaches the trainer (`scaled`); here
is how they go together: names that collide, companions, paths set twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweepctl.sweepfile.checker import Checker, is_parameter_name
from sweepctl.sweepfile.document import Path, described
from sweepctl.sweepfile.reach import WRITING_MACROS, Setting
from sweepctl.sweepfile.rules import DISTRIBUTIONS, check_parameter
from sweepctl.sweepfile.scaled import (
    ScaledParts,
    Trainer,
    check_override_path,
    check_override_value,
    check_scaled,
    foreign_path,
)
from sweepctl_pod.overrides import PATH_SUFFIX, TABLE_SUFFIX, ScaledDict
from sweepctl_pod.run_parameters import TYPE_SUFFIX, VALUE_TYPES, type_owner
from sweepctl_pod.stored_form import PARAMETER_KEYS, part_owner

_SIDES = {PATH_SUFFIX: TABLE_SUFFIX, TABLE_SUFFIX: PATH_SUFFIX}
_FLOAT_DISTRIBUTIONS = frozenset(DISTRIBUTIONS) - {
    "constant",
    "categorical",
    "categorical_w_probabilities",
    "int_uniform",
}


@dataclass(slots=True)
class Parameters:
    """Checks the map of parameters and turns it into W&B's stored form."""

    checker: Checker
    given: Mapping[str, object]
    method: object
    trainer: Trainer
    arguments: str | None
    """The `${args…}` macro by which the command passes every parameter on."""
    writes_overrides: bool
    """Whether the command has a place for overrides."""

    scaled: list[ScaledDict] = field(default_factory=list)
    """The result: the scaled dictionaries among them."""
    has_overrides: bool = False
    """The result: whether a run's command has overrides put into it."""
    settings: list[Setting] = field(default_factory=list)
    """The result: the settings of the trainer that the sound ones ask for."""

    def check(self) -> None:
        """Check every parameter; `scaled` holds when there was nothing to say."""
        for name, spec in self.given.items():
            owner = part_owner(name, self.given)
            if owner in self.given:
                continue  # a part of a scaled dictionary, or a type, beside its parameter
            if owner is not None:
                self.checker.error(
                    ("parameters", name),
                    f"{name} is a part of the scaled dictionary {owner}, which is not there",
                    f"add the factor, {owner}: {{distribution: uniform, min: 0.5, max: 2.0}}",
                    at_key=True,
                )
            elif self.checker.parameter(spec, ("parameters", name), name):
                self._check_one(name, spec)

    def _check_one(self, name: str, spec: Mapping[str, object]) -> None:
        at = ("parameters", name)
        own = {key: value for key, value in spec.items() if key in PARAMETER_KEYS}
        inside = {key: part for key, part in spec.items() if key.endswith(tuple(_SIDES))}
        beside = {key: self.given[key] for key in self._side_names(name) if key in self.given}
        is_scaled = bool(inside or beside)
        is_override = "." in name and not name.startswith("_") and is_parameter_name(name)
        is_written = is_scaled or (is_override and self.writes_overrides)
        kind = check_parameter(
            self.checker,
            at,
            spec,
            is_grid=self.method == "grid",
            parts=("type", name + PATH_SUFFIX, name + TABLE_SUFFIX),
            passed_by=None if is_written else self.arguments or "wandb.config",
        )
        self.has_overrides = self.has_overrides or (is_written and self.writes_overrides)
        if is_scaled:
            self._check_scaled(name, own, inside, beside)
            return
        self._check_reach(at, name, is_nested="parameters" in spec)
        if is_override and self.arguments in WRITING_MACROS and not self.writes_overrides:
            self.settings.append(_setting(at, name, own))
        if is_override and not self.writes_overrides:
            if foreign := foreign_path(self.trainer, name):
                self.checker.warn(at, *foreign, at_key=True)
        elif is_override and check_override_path(self.checker, self.trainer, at, name, at_key=True):
            self.settings.append(_setting(at, name, own))
            self._check_override_values(at, name, own)
        self._check_seed(at, name, kind)
        self._check_type(at, name, spec)

    def _check_scaled(
        self,
        name: str,
        own: Mapping[str, object],
        inside: Mapping[str, object],
        beside: Mapping[str, object],
    ) -> None:
        at = ("parameters", name)
        for key in beside if inside else ():
            self.checker.error(
                ("parameters", key),
                f"the scaled dictionary {name} has parts inside it and this one beside it",
                "keep one of the two forms",
                at_key=True,
            )
        around = at if inside else at[:1]
        parts = ScaledParts(name, at, own, around, inside or beside)
        scaled = check_scaled(self.checker, self.trainer, parts)
        if scaled is not None:
            self.settings.append(Setting(scaled.path, name, at, keys=scaled.base))
            self.scaled.append(scaled)

    @staticmethod
    def _side_names(name: str) -> tuple[str, ...]:
        return tuple(name + suffix for suffix in _SIDES)

    def _check_override_values(self, at: Path, name: str, own: Mapping[str, object]) -> None:
        if "value" in own:
            check_override_value(self.checker, self.trainer, (*at, "value"), name, own["value"])
        values = own.get("values")
        if not isinstance(values, list):
            return
        for index, value in enumerate(values):
            place = (*at, "values", index)
            check_override_value(self.checker, self.trainer, place, name, value)
        integers = [index for index, value in enumerate(values) if type(value) is int]
        if integers and any(isinstance(value, float) for value in values):
            number = values[integers[0]]
            self.checker.warn(
                (*at, "values", integers[0]),
                f"{described(number)} is an integer among floats",
                f"write {number}.0: Isaac Lab 2.x refuses the one where it wants the other",
            )

    def _check_type(self, at: Path, name: str, spec: Mapping[str, object]) -> None:
        if "type" in spec and not isinstance(spec["type"], dict):  # a nested parameter's name
            self.checker.choice(spec["type"], (*at, "type"), VALUE_TYPES)
        key = name + TYPE_SUFFIX
        if self.arguments and type_owner(key, self.given) == name:
            self.checker.warn(
                ("parameters", key),
                f"{key} is taken for the type of {name}: W&B's agent passes it on, sweepctl's not",
                "remove it: the values tell their type",
                at_key=True,
            )

    def _check_reach(self, at: Path, name: str, is_nested: bool) -> None:
        if self.arguments:
            return
        if is_nested:
            reason = "is a map of nested parameters"
        elif name.startswith("_"):
            reason = "begins with _"
        elif "." not in name:
            reason = "has no dot"
        else:
            return
        self.checker.warn(
            at,
            f"{name} {reason}, so it is no override, and no ${{args}} macro passes it on",
            "name the setting by its path, such as agent.algorithm.learning_rate",
            at_key=True,
        )

    def _check_seed(self, at: Path, name: str, kind: str | None) -> None:
        if name.split(".")[-1] != "seed":
            return
        if kind in _FLOAT_DISTRIBUTIONS:
            hint = "write distribution: int_uniform"
            self.checker.warn(at, f"a seed is an integer; {kind} draws floats", hint, at_key=True)
        elif self.method == "bayes" and kind not in (None, "constant"):
            self.checker.warn(
                at,
                "bayes will search for the luckiest seed, which tells nothing about the rest",
                "write value: 42, or method: random",
                at_key=True,
            )


def _setting(at: Path, name: str, own: Mapping[str, object]) -> Setting:
    values = own.get("values")
    if isinstance(values, list):
        return Setting(name, name, at, values, is_list=True)
    return Setting(name, name, at, [own["value"]] if "value" in own else None)
