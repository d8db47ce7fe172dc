"""The verbs of the embedded server's data: backup, prune. Parse, one call, one print."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sweepctl.cli import output
from sweepctl.cli.options import Data, Output, print_lines
from sweepctl.cli.output import Form


def backup(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A new file: .tar, or .tar.gz for a smaller one; - is stdout."
        ),
    ],
    data: Data = None,
    form: Output = Form.TABLE,
) -> None:
    """Write a backup of a data folder: database, files, artifacts; also while its server runs.

    To bring it back, unpack it into an empty folder: tar -xf FILE -C DIR.
    """
    from sweepctl.local.data_care import back_up

    made = back_up(data, file)
    for name in made.missing:
        output.say(f"warning: the database names {name}, which is not there")
    if file == "-":
        output.say(made.said)
    elif form.is_data:
        output.data(asdict(made), form)
    else:
        output.answer(f"backup/{made.path}" if form is Form.NAME else made.said)


def prune(
    data: Data = None,
    older_than: Annotated[
        str,
        typer.Option("--older-than", metavar="TIME", help="Leave what is younger: 30s, 12h, 7d."),
    ] = "7d",
    checkpoints: Annotated[
        bool,
        typer.Option("--checkpoints", help="The checkpoints of finished runs as well."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing: say what would be.")
    ] = False,
    form: Output = Form.TABLE,
) -> None:
    """Remove what nothing in a data folder needs any more, and say how much that was.

    Files and data of deleted runs, contents of no artifact, copies from before an upgrade, the
    database's free part. Beside a running server the rest stays that only it may touch.
    """
    from sweepctl.local.data_care import tidy
    from sweepctl.sweeps.log_lines import parse_duration_s

    output.check_has_names(form, "what is removed")
    age_s = parse_duration_s(older_than, "--older-than")
    done = tidy(data, older_than_s=age_s, with_checkpoints=checkpoints, dry_run=dry_run)
    if form.is_data:
        output.data({**asdict(done), "size_bytes": done.size_bytes}, form)
        return
    print_lines(done.said)
    for why in done.left:
        output.say(f"left: {why}")
