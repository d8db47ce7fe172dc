"""`sweepctl report`: the tables of a sweep that the stock agent trained, read back by pyarrow."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml

from sweepctl.sweeps.tables import wandb_history
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.wandb.client import Connection
from tests.contract.conftest import Sdk
from tests.serving import API_KEY, ServerProcess

TRAIN = """
import wandb
run = wandb.init()
for step in range(3):
    run.log({"loss": run.config["a"] / (step + 1), "odd": [1, "x"][step % 2]})
run.log({"late": float("nan")})
run.finish()
"""
SWEEP = {
    "method": "grid",
    "metric": {"name": "loss", "goal": "minimize"},
    "program": "train.py",
    "parameters": {"a": {"values": [2, 4]}, "name": {"value": "legs"}},
}
Report = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["sweeps", "runs"])
def report(
    request: pytest.FixtureRequest, sdk: Sdk, server: ServerProcess, tmp_path: Path
) -> Report:
    """Train a sweep of two runs; give the function that reports it."""
    (sdk.home / "train.py").write_text(TRAIN)
    (sdk.home / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    said = sdk.cli("sweep", "-p", request.param, "sweep.yaml")
    path = next(word for word in said.split() if word.startswith(f"local/{request.param}/"))
    code, out, err = sdk.end(sdk.start_agent(path))
    assert code == 0, out + err

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sweepctl", "report", path, "--server", server.url]
        return subprocess.run(
            [*command, *options],
            env=sdk.environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_report_writes_runs_and_histories_and_reads_each_history_once(
    report: Report, tmp_path: Path
) -> None:
    done = report("--to", "tables")
    assert done.returncode == 0, done.stderr
    runs = pyarrow.parquet.read_table(tmp_path / "tables/runs.parquet").to_pylist()
    assert [run["state"] for run in runs] == ["finished"] * 2
    assert [(run["parameters/a"], run["parameters/name"]) for run in runs] == [
        (2, "legs"),
        (4, "legs"),
    ]
    files = [f"history/{run['run']}.parquet" for run in runs]
    assert done.stdout.splitlines() == [
        "tables/runs.parquet: 2 rows",
        *(f"tables/{file}: 4 rows" for file in files),
    ]
    rows = pyarrow.parquet.read_table(tmp_path / "tables" / files[1]).to_pylist()
    assert [row["_step"] for row in rows] == [0, 1, 2, 3]
    assert [row["loss"] for row in rows] == [4.0, 2.0, 4 / 3, None]
    assert [row["odd"] for row in rows] == ["1", '"x"', "1", None]
    assert {row["run"] for row in rows} == {runs[1]["run"]}
    assert math.isnan(rows[3]["late"])
    again = report("--to", "tables")
    assert again.stdout == "tables/runs.parquet: 2 rows\n"
    assert sorted(
        str(file.relative_to(tmp_path / "tables"))
        for file in tmp_path.rglob("*.*")
        if file.suffix == ".parquet"
    ) == sorted(["runs.parquet", *files])


def test_run_that_is_gone_is_one_error(server: ServerProcess) -> None:
    history = wandb_history(Connection(server.url, API_KEY), "local", "p")
    with pytest.raises(SweepctlError) as error:
        list(history("none"))
    assert "cannot read the history of run none" in error.value.message
