"""The values of a parameter over runs: numbers on a scale, or the names of categories."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweepctl.figures.axes import Axis, axis_over, category_axis, short
from sweepctl.figures.facts import RunFacts, SweepFacts, is_number, number

_MOST_CATEGORIES = 24
_FEW_NUMBERS = 6
"""So few different numbers, each of them in several runs, are categories: nothing is between."""
_LOG_FROM = 100.0
"""Numbers whose largest is so many times the smallest stand on a logarithmic scale."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as it can be drawn: its axis and each run's place on it, by the run's id."""

    name: str
    axis: Axis
    values: Mapping[str, float]
    """The number itself, or that of its category."""

    @property
    def is_category(self) -> bool:
        """Say whether its values are names."""
        return bool(self.axis.names)


def parameter(name: str, runs: Sequence[RunFacts], form: object) -> Parameter | str:
    """Read a parameter of runs, or say why it cannot be drawn."""
    found = {run.id: run.parameters[name] for run in runs if name in run.parameters}
    found = {run: value for run, value in found.items() if not _is_odd_number(value)}
    if not found:
        return "no run has a value of it"
    texts = {run: _written(value) for run, value in found.items()}
    different = sorted(set(texts.values()))
    if len(different) == 1:
        return "all runs have the same value"
    numbers = {run: number(value) for run, value in found.items() if is_number(value)}
    if len(numbers) == len(found):
        scale = sorted(set(numbers.values()))
        if len(scale) > _FEW_NUMBERS or 2 * len(scale) > len(found):
            kind = form.get("distribution") if isinstance(form, Mapping) else None
            is_log = scale[0] > 0 and ("log" in str(kind) or scale[-1] / _LOG_FROM >= scale[0])
            return Parameter(name, axis_over(scale, name, is_log=is_log), numbers)
        places = {value: float(at) for at, value in enumerate(scale)}
        axis = category_axis([short(value) for value in scale], name)
        return Parameter(name, axis, {run: places[value] for run, value in numbers.items()})
    if len(different) > _MOST_CATEGORIES:
        return f"it has {len(different)} different values that are no numbers"
    order = {text: float(at) for at, text in enumerate(different)}
    axis = category_axis(different, name)
    return Parameter(name, axis, {run: order[text] for run, text in texts.items()})


def parameters(facts: SweepFacts, runs: Sequence[RunFacts]) -> tuple[list[Parameter], list[str]]:
    """Read all that the sweep searches; and a note for each that cannot be drawn."""
    found, notes = [], []
    for name in facts.searched:
        read = parameter(name, runs, facts.forms.get(name))
        if isinstance(read, Parameter):
            found.append(read)
        else:
            notes.append(f"{name} is left out: {read}.")
    hidden = notes[3:]
    return found, [*notes[:3], *([f"{len(hidden)} more are left out."] if hidden else [])]


def _is_odd_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not is_number(value)


def _written(value: object) -> str:
    if isinstance(value, str):
        return value or "(empty)"
    return json.dumps(value, sort_keys=True, default=str)
