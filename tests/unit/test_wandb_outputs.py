"""What a run left at W&B, where a real server does not answer so on demand."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from sweepctl_pod.wandb.client import Connection, WandbClient
from sweepctl_pod.wandb.outputs import last_logged

Row = dict[str, Any]


class Sampling(WandbClient):
    """A server that samples a history at random, as W&B does; `rows` may be no rows at all."""

    def __init__(self, rows: Any, *, knows_min_step: bool = True) -> None:
        super().__init__(Connection("http://127.0.0.1:9", "key"))
        self._rows = rows
        self._knows_min_step = knows_min_step
        self._rng = random.Random(7)

    def graphql(
        self, query: str, variables: Mapping[str, Any], attempt: int | None = None
    ) -> dict[str, Any]:
        (spec,) = map(json.loads, variables["specs"])
        rows = self._rows
        if isinstance(rows, Sequence) and self._knows_min_step:
            rows = [row for row in rows if row["_step"] >= spec["minStep"]]
            rows = self._rng.sample(rows, min(len(rows), 3))
        return {"project": {"run": {"sampledHistory": [rows]}}}


def last(server: Sampling) -> object:
    return last_logged(server, ("e", "p", "r"), "loss")


def history(count: int, **more: object) -> list[Row]:
    return [{"_step": 3 * step, "loss": step / 2, **more} for step in range(count)]


@pytest.mark.parametrize("count", [1, 3, 4, 1000])
def test_last_value_is_found_whatever_the_sample_leaves_out(count: int) -> None:
    assert last(Sampling(history(count))) == (count - 1) / 2


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], None),
        (None, None),
        ([{"_step": 0, "loss": None}], None),
        ([{"_step": 4, "loss": 1}, {"_step": 9, "loss": None}], 1),
        ([{"_step": 9, "loss": "NaN"}, {"_step": 4, "loss": 1}], "NaN"),
    ],
)
def test_rows_without_a_value_tell_nothing(rows: Any, expected: object) -> None:
    assert last(Sampling(rows, knows_min_step=False)) == expected
