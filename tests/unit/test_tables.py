"""A sweep's runs as columns of one type each, and the extra that they need."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from sweepctl.search.metric import Metric
from sweepctl.sweeps import extras
from sweepctl.sweeps.status import RunRow, SweepStatus
from sweepctl.sweeps.tables import column, run_rows, write_tables
from sweepctl_pod.errors import SweepctlError


@pytest.mark.parametrize(
    ("values", "given"),
    [
        ([1, None, 3], [1, None, 3]),
        ([1, 2.5], [1.0, 2.5]),
        ([1, "NaN", "-Infinity"], [1.0, math.nan, -math.inf]),
        ([2**63, 1], [float(2**63), 1.0]),
        ([True, None], [True, None]),
        ([True, 1], ["true", "1"]),
        (["a", None, "NaN"], ["a", None, "NaN"]),
        (["a", 1], ['"a"', "1"]),
        ([{"b": 1, "a": 2}, None], ['{"a": 2, "b": 1}', None]),
        ([[1, 2], [3]], ["[1, 2]", "[3]"]),
        ([None, None], [None, None]),
    ],
)
def test_column_has_one_type(values: list[Any], given: list[Any]) -> None:
    found = column(values)
    assert repr(found) == repr(given)


def test_run_is_a_row_with_its_metric_and_parameters() -> None:
    run = RunRow("r1", "failed", "host-0", None, 7, 3.0, {"env.gain": 1.5}, reason="killed")
    status = SweepStatus("a/b/c", None, "RUNNING", "grid", Metric("m", "minimize"), None, (run,))
    assert run_rows(status) == [
        {
            "run": "r1",
            "state": "failed",
            "reason": "killed",
            "agent": "host-0",
            "duration_s": None,
            "step": 7,
            "metric/m": None,
            "parameters/env.gain": 1.5,
        }
    ]


def test_history_that_was_read_before_the_runs_end_is_read_again(tmp_path: Path) -> None:
    asked: list[str] = []

    def history(run_id: str) -> Iterator[dict[str, Any]]:
        asked.append(run_id)
        yield from ({"_step": step} for step in range(len(asked)))

    calls = [("running", True), ("running", True), ("finished", True), ("finished", False)]
    calls.append(("failed", True))  # it was given to another agent
    for state, is_read in calls:
        run = RunRow("r1", state, None, None, None, None, {})
        status = SweepStatus("a/b/c", None, "RUNNING", "grid", None, None, (run,))
        before = len(asked)
        written = write_tables(status, history, tmp_path, lambda line: None)
        assert (len(asked) > before) is is_read, state
        assert ("history/r1.parquet" in written) is is_read
    table = pyarrow.parquet.read_table(tmp_path / "history/r1.parquet")
    assert table.column("_step").to_pylist() == [0, 1, 2, 3]
    assert [file.name for file in (tmp_path / "history").iterdir()] == ["r1.parquet"]


def test_what_lacks_an_extra_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "report", ("pyarrow_none", "json"))
    with pytest.raises(SweepctlError) as error:
        extras.require_extra("report", "report")
    assert error.value.message == "report needs pyarrow_none, which is not installed"
    assert "[report]" in (error.value.hint or "")


WHEEL = '{"url": "file:///d/sweepctl-1.whl", "archive_info": {}}'
FOLDER = '{"url": "file:///my%20code/sweepctl", "dir_info": {"editable": true}}'


@pytest.mark.parametrize(
    ("mark", "origin", "command"),
    [
        ("uv-receipt.toml", None, "uv tool install 'sweepctl[bayes]'"),
        (
            "uv-receipt.toml",
            WHEEL,
            "uv tool install 'sweepctl[bayes] @ file:///d/sweepctl-1.whl'",
        ),
        ("pipx_metadata.json", None, "pipx install --force 'sweepctl[bayes]'"),
        (
            "lib/python3.12/site-packages/pip",
            WHEEL,
            "PREFIX/bin/python -m pip install 'sweepctl[bayes] @ file:///d/sweepctl-1.whl'",
        ),
        (
            "lib/python3.12/site-packages/pip",
            FOLDER,
            "PREFIX/bin/python -m pip install -e '/my code/sweepctl[bayes]'",
        ),
        ("pyvenv.cfg", None, "uv pip install -p PREFIX/bin/python 'sweepctl[bayes]'"),
    ],
)
def test_extra_is_installed_as_sweepctl_was(
    mark: str, origin: str | None, command: str, tmp_path: Path
) -> None:
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).touch()
    found = extras.install_command("bayes", tmp_path, origin)
    assert found == command.replace("PREFIX", str(tmp_path))
