"""The verbs of a server's further keys: add, list, revoke. Parse, one call, one print."""

from __future__ import annotations

from typing import Annotated

import typer

from sweepctl.cli import output
from sweepctl.cli.options import Data, Output, print_lines
from sweepctl.cli.output import Form

KeyName = Annotated[
    str, typer.Argument(metavar="NAME", help="Whose key it is: a person, a machine.")
]


def add(name: KeyName, data: Data = None, form: Output = Form.TABLE) -> None:
    """Make a further key of the server and print it: nothing shows it again.

    A running server takes it at once, for WANDB_API_KEY and in the login of the pages.
    """
    from sweepctl.local.data_care import add_server_key

    made = add_server_key(data, name)
    if form.is_data:
        output.data({"name": name, "key": made.key}, form)
    else:
        output.answer(made.key)
    output.say(f"key/{name} added to {made.data}: it is not shown again")
    if made.is_new:
        output.say("no server has used this folder yet; another one is named by --data DIR")


def list_(data: Data = None, form: Output = Form.TABLE) -> None:
    """List the further keys of the server by name. The folder's own, DATA/key, has no name."""
    from sweepctl.local.data_care import folder_of, list_server_keys

    keys = list_server_keys(data)
    if form.is_data:
        output.data([{"name": key.name, "created": key.made_at} for key in keys], form)
    elif form is Form.NAME:
        print_lines(f"key/{key.name}" for key in keys)
    elif not keys:
        output.say(f"no further keys in {folder_of(data)}; sweepctl server key add NAME makes one")
    else:
        rows = [[key.name, key.made_at] for key in keys]
        output.console().print(output.table(["NAME", "CREATED"], rows))


def revoke(name: KeyName, data: Data = None, form: Output = Form.TABLE) -> None:
    """Take a key away: its next request is refused, also by a running server; its logins end."""
    from sweepctl.local.data_care import revoke_server_key

    revoke_server_key(data, name)
    if form.is_data:
        output.data({"name": name, "result": "revoked"}, form)
    else:
        output.answer(f"key/{name}" if form is Form.NAME else f"key/{name} revoked")
