"""A sweep's runs as Parquet files, for programs that draw and compute: the extra `report`.

`runs.parquet` has one row a run; `history/RUN.parquet` one row for each step that the run logged,
read by the wandb client, which knows W&B's stores of histories. Files appear when they are whole.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweepctl.sweeps.extras import require_extra
from sweepctl.sweeps.handle import SweepHandle
from sweepctl.sweeps.seen import read_status
from sweepctl.sweeps.status import RunRow, SweepStatus
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.wandb.client import Connection
from sweepctl_pod.wandb.states import OPEN_RUNS

Row = Mapping[str, Any]
History = Callable[[str], Iterator[Row]]

_STATE = b"sweepctl.state"
"""Where a file keeps the state that its run had when it was read."""
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def write_tables(
    status: SweepStatus, history: History, folder: Path, say: Callable[[str], None]
) -> dict[str, int]:
    """Write the tables of a sweep into a folder; give the rows of each file.

    A history that was read after the run's end is not read again.
    """
    (folder / "history").mkdir(parents=True, exist_ok=True)
    written = {"runs.parquet": _write(folder / "runs.parquet", run_rows(status), "")}
    for number, run in enumerate(status.runs, 1):
        name = f"history/{run.id}.parquet"
        file = folder / name
        if run.state not in OPEN_RUNS and _state_when_read(file) == run.state:
            continue
        say(f"history of run {run.id} [{number} of {len(status.runs)}]")
        rows = [{"run": run.id, **row} for row in history(run.id)]
        if rows:
            written[name] = _write(file, rows, run.state)
    return written


def write_sweep(sweep: SweepHandle, folder: Path, say: Callable[[str], None]) -> dict[str, int]:
    """Write the tables of a sweep into a folder; give the rows of each file."""
    with sweep.api() as (api, name):
        status = read_status(api, name).status
        entity, project, _ = status.sweep.split("/")
        return write_tables(status, wandb_history(api.connection, entity, project), folder, say)


def run_rows(status: SweepStatus) -> list[dict[str, Any]]:
    """Give one row a run: what became of it, its metric, the parameters as `parameters/NAME`."""
    return [_run_row(run, status) for run in status.runs]


def _run_row(run: RunRow, status: SweepStatus) -> dict[str, Any]:
    row = {
        "run": run.id,
        "state": run.state,
        "reason": run.reason,
        "agent": run.agent,
        "duration_s": run.duration_s,
        "step": run.step,
    }
    if status.metric is not None:
        row[f"metric/{status.metric.name}"] = run.metric
    return row | {f"parameters/{name}": value for name, value in run.parameters.items()}


def column(values: Sequence[Any]) -> list[Any]:
    """Give a column's values one type: numbers stay numbers, what is mixed becomes JSON text."""
    numbers = [_NOT_FINITE.get(value, value) if _is_text(value) else value for value in values]
    known = {type(value) for value in numbers if value is not None}
    if known <= {int, float}:
        if float in known or any(abs(value) >= 2**63 for value in numbers if value is not None):
            return [None if value is None else float(value) for value in numbers]
        return numbers
    if known <= {bool} or {type(value) for value in values if value is not None} <= {str}:
        return list(values)
    return [None if value is None else json.dumps(value, sort_keys=True) for value in values]


def wandb_history(connection: Connection, entity: str, project: str) -> History:
    """Give the function that reads the history of a run by the wandb client."""
    require_extra("report", "report")
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    try:
        api = wandb.Api(
            overrides={"base_url": connection.base_url, "entity": entity, "project": project},
            api_key=connection.api_key,
            timeout=60,
        )
    except (wandb.Error, ValueError) as error:
        raise SweepctlError(f"the wandb client: {error}") from None

    def history(run_id: str) -> Iterator[Row]:
        try:
            # The client leaves `/sweeps/` and `/runs/` out of a path, projects of that name too.
            yield from api.run(f"{entity}/{project}:{run_id}").scan_history()
        except (wandb.Error, ValueError, OSError) as error:
            raise SweepctlError(f"cannot read the history of run {run_id}: {error}") from None

    return history


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _state_when_read(file: Path) -> str | None:
    import pyarrow.parquet

    if not file.exists():
        return None
    known = pyarrow.parquet.read_schema(file).metadata or {}
    return str(known.get(_STATE, b"").decode())


def parquet(rows: Sequence[Row], state: str = "") -> bytes:
    """Write rows as a Parquet file; `state` is that of the run whose history they are."""
    import pyarrow
    import pyarrow.parquet

    names = dict.fromkeys(name for row in rows for name in row)
    table = pyarrow.table({name: column([row.get(name) for row in rows]) for name in names})
    table = table.replace_schema_metadata({_STATE: state.encode()})
    written = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, written, compression="zstd")
    return bytes(written.getvalue())


def _write(file: Path, rows: Sequence[Row], state: str) -> int:
    content = parquet(rows, state)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return len(rows)
