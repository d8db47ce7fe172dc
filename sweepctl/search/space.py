"""The space that a search which learns works in: one axis for each parameter that varies. Pure.

Every distribution of W&B has its axis, and a draw at random along the axes is W&B's own draw: a
continuous or rounded one is its quantile from 0 to 1, a whole number is itself, a categorical one
the number of its value. Constants and single values are no axes; parameters come back with them.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sweepctl.search.distributions import SearchError, named
from sweepctl.search.next_params import Leaf, Params, key_of, leaves, nested, value_at
from sweepctl.search.quantiles import quantiles

Coordinate = float | int
Point = tuple[Coordinate, ...]

BLOCK = 16
"""So many draws in a row are spread evenly along every axis."""

_MAX_EXACT = 2**53
"""Whole numbers beyond are not all floats, in which a search calculates."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: of quantiles (`share`), of whole numbers, or of `choice`s without an order.

    `least` and `most` are its ends. `drawn` gives the coordinate at a share of W&B's draws.
    """

    path: tuple[str, ...]
    kind: Literal["share", "whole", "choice"]
    least: Coordinate
    most: Coordinate
    drawn: Callable[[float], Coordinate]
    value: Callable[[Any], Any]
    coordinate: Callable[[Any], Coordinate | None]


class Space:
    """The axes of a sweep's parameters; a SearchError says which parameter has none."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._constants: list[tuple[tuple[str, ...], Any]] = []
        self.axes: list[Axis] = []
        self.notes: list[str] = []
        for leaf in leaves(spec):
            axis = _axis(leaf)
            if isinstance(axis, Axis):
                self.axes.append(axis)
            else:
                self._constants.append((leaf.path, axis.value))
            if leaf.parameter.distribution == "categorical_w_probabilities":
                self.notes.append(
                    f"{leaf.name}.probabilities: the first runs are drawn by them; later ones by"
                    " what has been learned alone"
                )

    def params(self, point: Point) -> Params:
        """Give the parameters at a point, constants included."""
        found = ((a.path, a.value(x)) for a, x in zip(self.axes, point, strict=True))
        return nested(itertools.chain(self._constants, found))

    def point(self, params: Mapping[str, Any]) -> Point | None:
        """Give the point of a run's parameters; None of one that lies outside."""
        point = []
        for axis in self.axes:
            coordinate = axis.coordinate(value_at(params, axis.path))
            if coordinate is None:
                return None
            point.append(coordinate)
        return tuple(point)

    def drawn(self, seed: str, number: int) -> Point:
        """Give the draw of this number at random, as W&B draws.

        BLOCK draws in a row take a slice of every axis each: sixteen runs know more of an axis
        than sixteen throws of dice would tell.
        """
        block, place = divmod(number, BLOCK)
        slices = random.Random(f"{seed}/{block}/slices")
        within = random.Random(f"{seed}/{number}/within")
        point = []
        for axis in self.axes:
            order = slices.sample(range(BLOCK), BLOCK)
            point.append(axis.drawn((order[place] + within.random()) / BLOCK))
        return tuple(point)


@dataclass(frozen=True, slots=True)
class _Constant:
    value: Any


def _axis(leaf: Leaf) -> Axis | _Constant:
    distribution = leaf.parameter.distribution
    if distribution == "constant":
        return _Constant(leaf.config["value"])
    if distribution in ("categorical", "categorical_w_probabilities"):
        return _choice(leaf)
    if distribution == "int_uniform":
        least, most = leaf.config["min"], leaf.config["max"]
        if max(abs(least), abs(most)) <= _MAX_EXACT:
            return _whole(leaf, least, most)
        raise SearchError(
            f"{leaf.name}: bayes takes whole numbers up to {_MAX_EXACT}, found"
            f" {max(abs(least), abs(most))}; write distribution: q_uniform"
        )
    found = quantiles(leaf.name, distribution, leaf.config)

    def coordinate(value: object) -> float | None:
        return found.of(float(value)) if _is_number(value) else None  # type: ignore[arg-type] # a number

    return Axis(leaf.path, "share", 0.0, 1.0, lambda share: share, found.at, coordinate)


def _whole(leaf: Leaf, least: int, most: int) -> Axis:
    count = most - least + 1

    def coordinate(value: Any) -> int | None:
        return min(max(round(value), least), most) if _is_number(value) else None

    def drawn(share: float) -> int:
        return min(least + int(share * count), most)

    return Axis(leaf.path, "whole", least, most, drawn, int, coordinate)


def _choice(leaf: Leaf) -> Axis | _Constant:
    values: Sequence[Any] = leaf.config["values"]
    weights: Sequence[float] = leaf.config.get("probabilities") or [1.0] * len(values)
    weight_of: dict[str, float] = {}
    value_of: dict[str, Any] = {}
    for value, weight in zip(values, weights, strict=True):
        if weight > 0:
            key = key_of(value)
            value_of.setdefault(key, value)
            weight_of[key] = weight_of.get(key, 0.0) + weight
    if not value_of:
        raise SearchError(f"{leaf.name}.probabilities: all of {named(values)} have none")
    if len(value_of) == 1:
        return _Constant(next(iter(value_of.values())))
    distinct = list(value_of.values())
    numbers = {key: number for number, key in enumerate(value_of)}
    ends = list(itertools.accumulate(weight_of.values()))

    def drawn(share: float) -> int:
        return min(bisect_right(ends, share * ends[-1]), len(distinct) - 1)

    return Axis(
        leaf.path,
        "choice",
        0,
        len(distinct) - 1,
        drawn,
        lambda number: distinct[number],
        lambda value: numbers.get(key_of(value)),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
