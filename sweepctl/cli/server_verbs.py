"""The verbs of the embedded server's data: backup, prune. Parse, one call, one print."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sweepctl.cli import output
from sweepctl.cli.options import Data, Output
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
