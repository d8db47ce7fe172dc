"""What the cluster's verbs answer of sweeps in no cluster: a server's list and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sweepctl.cli import output
from sweepctl.cli.options import Picture, print_lines
from sweepctl.cli.output import Form


def print_list(server: str | None, data: Path | None, form: Form) -> None:
    """Print the sweeps of a server, the newest first."""
    from sweepctl.sweeps.names import parse_sweep_name
    from sweepctl.sweeps.place import Place, open_source

    name = parse_sweep_name(None)
    with open_source(Place(server=server, data=data), name, output.say) as api:
        entity = api.default_entity()
        found = [sweep for project in api.projects(entity) for sweep in api.sweeps(entity, project)]
    found.sort(key=lambda sweep: sweep.created_at or "", reverse=True)
    rows = [
        {
            "sweep": f"{sweep.entity}/{sweep.project}/{sweep.id}",
            "name": sweep.display_name,
            "state": sweep.state,
            "method": sweep.method,
            "runs": sweep.run_count,
            "created_at": sweep.created_at,
        }
        for sweep in found
    ]
    if form.is_data:
        output.data(rows, form)
    elif form is Form.NAME:
        print_lines(f"sweep/{row['sweep']}" for row in rows)
    else:
        columns = ["SWEEP", "STATE", "METHOD", "RUNS", "NAME"]
        keys = ["sweep", "state", "method", "runs", "name"]
        if form is Form.WIDE:
            columns, keys = [*columns, "CREATED"], [*keys, "created_at"]
        cells = [
            [str(row[key] if row[key] is not None else "<none>") for key in keys] for row in rows
        ]
        output.console().print(output.table(columns, cells))


def pictures(
    name: str | None, server: str | None, data: Path | None, form: Form
) -> Iterator[Picture]:
    """Give what there is to show of a server's sweep, again and again."""
    from sweepctl.cli import views
    from sweepctl.sweeps.handle import read_status
    from sweepctl.sweeps.names import parse_sweep_name
    from sweepctl.sweeps.place import Place, open_source

    wanted = parse_sweep_name(name)
    place = Place(server=server, data=data)
    with open_source(place, wanted, output.say) as api:
        while True:
            status = read_status(api, wanted, place.data).status
            yield Picture(
                view=partial(views.status_view, status, wide=form is Form.WIDE),
                data=partial(views.status_data, status),
                name=f"sweep/{status.sweep}",
                form=form,
                is_last=status.has_ended,
            )
