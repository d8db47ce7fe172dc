"""What W&B allows in one parameter of a sweep: distributions, their keys, their numbers.

The rules are those of W&B's own schema (wandb/sweeps, config/schema.json), of its sampler and of
its client. They know nothing about trainers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sweepctl.sweepfile.checker import Checker, listed
from sweepctl.sweepfile.document import Path, Unreadable, described, number_text
from sweepctl.sweepfile.nesting import complain_of_strays, stray_parameters
from sweepctl_pod.stored_form import PARAMETER_KEYS


@dataclass(frozen=True, slots=True)
class Distribution:
    """The keys that a distribution takes besides `distribution`."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    is_countable: bool = False
    """Whether a grid can walk through it."""
    is_exponent: bool = False
    """Whether min and max are exponents of e."""
    above_zero: bool = False
    """Whether min must be above zero, as its logarithm is taken."""


_BOUNDS = ("min", "max")
_NUMBERS = (*_BOUNDS, "q", "mu", "sigma", "a", "b")
DISTRIBUTIONS = {
    "constant": Distribution(("value",), is_countable=True),
    "categorical": Distribution(("values",), is_countable=True),
    "categorical_w_probabilities": Distribution(("values", "probabilities")),
    "int_uniform": Distribution(_BOUNDS, is_countable=True),
    "uniform": Distribution(_BOUNDS),
    "q_uniform": Distribution(_BOUNDS, ("q",), is_countable=True),
    "log_uniform": Distribution(_BOUNDS, is_exponent=True),
    "q_log_uniform": Distribution(_BOUNDS, ("q",), is_exponent=True),
    "inv_log_uniform": Distribution(_BOUNDS, is_exponent=True),
    "log_uniform_values": Distribution(_BOUNDS, above_zero=True),
    "q_log_uniform_values": Distribution(_BOUNDS, ("q",), above_zero=True),
    "inv_log_uniform_values": Distribution(_BOUNDS, above_zero=True),
    "normal": Distribution((), ("mu", "sigma")),
    "q_normal": Distribution((), ("mu", "sigma", "q")),
    "log_normal": Distribution((), ("mu", "sigma")),
    "q_log_normal": Distribution((), ("mu", "sigma", "q")),
    "beta": Distribution((), ("a", "b")),
    "q_beta": Distribution((), ("a", "b", "q")),
}
_MAX_EXPONENT = math.log(1.7976931348623157e308)


def check_parameter(
    checker: Checker,
    path: Path,
    spec: Mapping[str, object],
    *,
    is_grid: bool,
    parts: Collection[str] = (),
    passed_by: str | None = None,
) -> str | None:
    """Check one parameter's W&B keys; give its distribution when that much is certain.

    Nested parameters (`parameters:` inside one) give None, checked as deep as they go. `parts` are
    keys that others check; `passed_by` names what hands the value on as the text that it is.
    """
    strays = {key: spec[key] for key in stray_parameters(spec, parts)}
    rest = {key: item for key, item in spec.items() if key not in strays}
    checker.known_keys(rest, path, (*PARAMETER_KEYS, *parts))
    spec = {key: item for key, item in rest.items() if key in PARAMETER_KEYS}
    if strays:
        unchecked = complain_of_strays(checker, path, spec, strays)
        _check_each(checker, path, unchecked, is_grid, passed_by)
    if "parameters" in spec:
        _check_nested(checker, path, spec, is_grid, passed_by)
    if strays or "parameters" in spec:
        return None
    kind = _distribution(checker, path, spec)
    _check_values(checker, path, spec, passed_by)
    if kind is None:
        for key in (key for key in _NUMBERS if key in spec):
            checker.number(spec[key], (*path, key))
        return None
    rules = DISTRIBUTIONS[kind]
    allowed = (*rules.required, *rules.optional, "distribution")
    for key in spec:
        if key not in allowed:
            fits = [name for name, d in DISTRIBUTIONS.items() if _takes(d, spec)]
            hint = f"remove {key}" + (f", or write distribution: {fits[0]}" if fits else "")
            checker.error((*path, key), f"{key} says nothing to {kind}", hint, at_key=True)
    for key in rules.required:
        if key not in spec:
            checker.missing(path, key, f"{kind} needs {listed(rules.required)}")
    _check_numbers(checker, path, spec, kind)
    if is_grid and not rules.is_countable:
        at = (*path, "distribution") if "distribution" in spec else path
        hint = "use values: [...], or q_uniform with q, or method: random"
        checker.error(at, f"a grid cannot walk through {kind}", hint)
    return kind


def _takes(distribution: Distribution, spec: Mapping[str, object]) -> bool:
    given = set(spec) - {"distribution"}
    return set(distribution.required) <= given <= {*distribution.required, *distribution.optional}


def _check_nested(
    checker: Checker,
    path: Path,
    spec: Mapping[str, object],
    is_grid: bool,
    passed_by: str | None,
) -> None:
    for key in spec:
        if key != "parameters":
            checker.error((*path, key), f"{key} cannot stand beside parameters", at_key=True)
    inner = (*path, "parameters")
    nested = spec["parameters"]
    if not checker.mapping(nested, inner, "write name: {value: …} below it"):
        return
    if not nested:
        checker.error(inner, "parameters is empty", "remove it, or name a parameter below it")
    _check_each(checker, inner, nested, is_grid, passed_by)


def _check_each(
    checker: Checker,
    path: Path,
    nested: Mapping[str, object],
    is_grid: bool,
    passed_by: str | None,
) -> None:
    for name, below in nested.items():
        place = (*path, name)
        if checker.parameter(below, place, name):
            check_parameter(checker, place, below, is_grid=is_grid, passed_by=passed_by)


def _distribution(checker: Checker, path: Path, spec: Mapping[str, object]) -> str | None:
    """Give the distribution that a parameter names or, as in W&B's client, that its keys imply."""
    if "distribution" in spec:
        named = spec["distribution"]
        if checker.choice(named, (*path, "distribution"), DISTRIBUTIONS):
            return str(named)
        return None
    if "value" in spec:
        return "constant"
    if "values" in spec:
        return "categorical_w_probabilities" if "probabilities" in spec else "categorical"
    if "min" in spec and "max" in spec:
        return _implied_by_bounds(checker, path, spec)
    for key, kinds in (("mu", "normal"), ("sigma", "normal"), ("a", "beta"), ("b", "beta")):
        if key in spec:
            checker.missing(path, "distribution", f"write distribution: {kinds}")
            return None
    if "min" in spec or "max" in spec:
        missing = "min" if "max" in spec else "max"
        checker.missing(path, missing, f"write {missing}: … beside it")
    elif not checker.has_misspelt(path):
        message = "the parameter has nothing to search"
        checker.error(path, message, "give it value, values, or min and max", at_key=True)
    return None


def _implied_by_bounds(checker: Checker, path: Path, spec: Mapping[str, object]) -> str | None:
    low, high = spec["min"], spec["max"]
    if not all([checker.number(spec[key], (*path, key)) for key in _BOUNDS]):
        return None
    if isinstance(low, int) and isinstance(high, int):
        return "int_uniform"
    if isinstance(low, float) and isinstance(high, float):
        return "uniform"
    key = "min" if isinstance(low, int) else "max"
    if len(path) > 2:  # W&B's client looks at the bounds of the top level alone
        message = "one of min and max is an integer, the other is not: uniform is assumed"
        checker.warn((*path, key), message, "add distribution: uniform")
        return "uniform"
    checker.error(
        (*path, key),
        "one of min and max is an integer, the other is not: W&B takes that as ambiguous",
        f"write {key}: {number_text(float(spec[key]))}, or add distribution: uniform",  # type: ignore[arg-type]
    )
    bounds = {"min": float(low), "max": float(high)}  # type: ignore[arg-type]
    _check_bounds(checker, path, bounds, "uniform")
    return None


def _check_values(
    checker: Checker, path: Path, spec: Mapping[str, object], passed_by: str | None
) -> None:
    if "value" in spec:
        checker.value(spec["value"], (*path, "value"), passed_by)
        if spec["value"] is None and not checker.document.raw((*path, "value")):
            checker.warn((*path, "value"), "the value is nothing", "write null if that is meant")
    if "values" not in spec:
        return
    place = (*path, "values")
    values = spec["values"]
    if not isinstance(values, list):
        checker.expected(values, place, "a list", "write [a, b, c]")
        return
    if not values:
        checker.error(place, "values is empty", "write at least one value")
    checker.value(values, place, passed_by)
    _check_repeats(checker, place, values)
    if "probabilities" in spec:
        _check_probabilities(checker, (*path, "probabilities"), spec["probabilities"], values)


def _check_repeats(checker: Checker, path: Path, values: Sequence[object]) -> None:
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        first = seen.setdefault(repr(value), index)
        if first != index and not isinstance(value, Unreadable):
            checker.warn(
                (*path, index),
                f"{described(value)} stands in values already",
                "a grid would train it twice; use probabilities for weights",
            )


def _check_probabilities(
    checker: Checker, path: Path, probabilities: object, values: Sequence[object]
) -> None:
    if not isinstance(probabilities, list):
        checker.expected(probabilities, path, "a list", "write one number for each value")
        return
    numbers: list[float] = []
    for index, item in enumerate(probabilities):
        if checker.number(item, (*path, index)):
            numbers.append(item)
            if item < 0:
                checker.error((*path, index), f"a probability of {item} is below 0")
    if len(probabilities) != len(values):
        checker.error(path, f"{len(probabilities)} probabilities for {len(values)} values")
    elif len(numbers) == len(values) and not math.isclose(math.fsum(numbers), 1, rel_tol=1e-5):
        checker.error(path, f"the probabilities add up to {math.fsum(numbers):g}, not to 1")


def _check_numbers(checker: Checker, path: Path, spec: Mapping[str, object], kind: str) -> None:
    rules = DISTRIBUTIONS[kind]
    implied = "distribution" not in spec  # then the bounds have been looked at
    numbers: dict[str, float] = {}
    for key in _NUMBERS:
        if key not in spec or key not in (*rules.required, *rules.optional):
            continue
        number, place = spec[key], (*path, key)
        if not implied:
            if kind == "int_uniform":
                checker.integer(number, place)
            else:
                checker.number(number, place)
        if isinstance(number, float) and kind == "int_uniform" and number.is_integer():
            numbers[key] = int(number)
        elif isinstance(number, (int, float)) and not isinstance(number, bool):
            numbers[key] = number
    for key in ("q", "a", "b"):
        if key in numbers and numbers[key] <= 0:
            checker.error((*path, key), f"{key} must be above 0, found {numbers[key]}")
    if numbers.get("sigma", 1) < 0:
        checker.error((*path, "sigma"), f"sigma cannot be below 0, found {numbers['sigma']}")
    if rules.above_zero and numbers.get("min", 1) <= 0:
        checker.error(
            (*path, "min"),
            f"{kind} takes logarithms: min must be above 0, found {number_text(numbers['min'])}",
            "write a small number, such as min: 1.0e-5, or use distribution: uniform",
        )
    if kind in ("log_normal", "q_log_normal"):
        _check_logarithms(checker, path, numbers.get("mu", 0), numbers.get("sigma", 1), kind)
    if "min" in numbers and "max" in numbers:
        _check_bounds(checker, path, numbers, kind)


def _check_bounds(checker: Checker, path: Path, numbers: Mapping[str, float], kind: str) -> None:
    low, high = numbers["min"], numbers["max"]
    low_text, high_text = number_text(low), number_text(high)
    if low > high:
        checker.error(
            (*path, "min"),
            f"min {low_text} is greater than max {high_text}",
            f"swap them: min: {high_text}, max: {low_text}",
        )
    elif low == high:
        checker.error(
            (*path, "max"), f"min and max are both {low_text}", f"write value: {low_text}"
        )
    elif DISTRIBUTIONS[kind].is_exponent:
        q = f", q: {number_text(numbers['q'])}" if "q" in numbers else ""
        _check_exponents(checker, path, low, high, kind, q)


def _check_exponents(
    checker: Checker, path: Path, low: float, high: float, kind: str, q: str
) -> None:
    """Say what W&B's old log_uniform draws: its bounds are exponents, so 1e-4 to 1e-3 is 1.0."""
    if high > _MAX_EXPONENT:
        checker.error((*path, "max"), f"max is an exponent of e here, and e^{high:g} has no float")
        return
    first, last = math.exp(low), math.exp(high)
    if kind.startswith("inv_"):
        first, last = 1 / last, (1 / first if first else math.inf)
    same = f"{{distribution: {kind}_values, min: {_rounded(first)}, max: {_rounded(last)}{q}}}"
    hints = [f"the same without exponents: {same}"] if first > 0 and last < math.inf else []
    if low > 0:
        low_text, high_text = number_text(low), number_text(high)
        bounds = f"min: {low_text}, max: {high_text}{q}"
        hints.append(f"{low_text} to {high_text}: {{distribution: {kind}_values, {bounds}}}")
    checker.warn(
        (*path, "distribution"),
        f"min and max are exponents of e here: {kind} draws from {first:.6g} to {last:.6g}, "
        f"not from {number_text(low)} to {number_text(high)}",
        "; ".join(hints) or None,
    )


def _check_logarithms(checker: Checker, path: Path, mu: float, sigma: float, kind: str) -> None:
    """Say what log_normal draws: mu and sigma are those of the logarithm."""
    if mu + 2 * sigma > _MAX_EXPONENT:
        checker.error(path, f"mu is an exponent of e here, and e^{mu + 2 * sigma:g} has no float")
        return
    if mu <= 0:
        return  # nobody means to draw around a number below zero here
    median, least, most = (math.exp(mu + k * sigma) for k in (0, -2, 2))
    checker.warn(
        (*path, "distribution"),
        f"mu and sigma are of the logarithm: {kind} draws around {median:.6g}, "
        f"19 of 20 between {least:.6g} and {most:.6g}",
        f"to draw around {number_text(mu)} write mu: {_rounded(math.log(mu))}",
    )


def _rounded(number: float) -> str:
    """Write a number with six digits, so that YAML 1.1 reads a number."""
    return number_text(float(f"{number:.6g}"))
