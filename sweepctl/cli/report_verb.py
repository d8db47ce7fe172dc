"""`sweepctl report`: a sweep's runs as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweepctl.cli import output
from sweepctl.cli.options import Context, Data, NameArgument, Namespace, Output, Server, print_lines
from sweepctl.cli.output import Form


def report(
    folder: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to write to.")],
    sweep: NameArgument = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    form: Output = Form.TABLE,
) -> None:
    """Write the runs and all that they logged as Parquet files. Needs the extra `report`.

    DIR/runs.parquet has one row a run, DIR/history/RUN.parquet one row a logged step. The next call
    reads again what may have changed.
    """
    from sweepctl.jobs import targets
    from sweepctl.sweeps.extras import require_extra
    from sweepctl.sweeps.handle import read_status
    from sweepctl.sweeps.place import Place
    from sweepctl.sweeps.tables import wandb_history, write_tables

    require_extra("report", "report")
    place = Place(namespace, context, server, data)
    with targets.open_sweep(sweep, place, output.say) as (api, name):
        status = read_status(api, name).status
        entity, project, _ = status.sweep.split("/")
        history = wandb_history(api.connection, entity, project)
        written = write_tables(status, history, folder, output.say)
    if form.is_data:
        output.data([{"file": str(folder / file), "rows": n} for file, n in written.items()], form)
    elif form is Form.NAME:
        print_lines(str(folder / file) for file in written)
    else:
        print_lines(f"{folder / file}: {rows} rows" for file, rows in written.items())
