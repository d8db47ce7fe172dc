"""`sweepctl open`: a sweep's page."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sweepctl.cli import output
from sweepctl.cli.options import (
    AllowedHosts,
    Context,
    Data,
    NameArgument,
    Namespace,
    Output,
    Server,
)
from sweepctl.cli.output import Form


def open_(
    sweep: NameArgument = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Where to serve a data folder's pages; port 0 is any.",
        ),
    ] = "127.0.0.1:0",
    allowed_hosts: AllowedHosts = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address and open no browser.")
    ] = False,
    form: Output = Form.TABLE,
) -> None:
    """Print the address of a sweep's page and open it in a browser where there is a display.

    For a sweep of this machine a server of its data folder runs until Ctrl-C, unless there is one;
    the server inside a cluster is reached through a port-forward until Ctrl-C.
    """
    from sweepctl.jobs import visit
    from sweepctl.sweeps.page import browse, stay
    from sweepctl.sweeps.place import Place

    place = Place(namespace, context, server, data)
    with visit.open_page(
        sweep, place, listen=listen, allowed_hosts=allowed_hosts or (), say=output.say
    ) as page:
        if form.is_data:
            output.data({"sweep": page.sweep, "url": page.address}, form)
        else:
            output.answer(f"sweep/{page.sweep}" if form is Form.NAME else page.address)
        sys.stdout.flush()
        for note in page.notes:
            output.say(note)
        if not no_browser:
            browse(page.address)
        if page.await_end is not None:
            output.say("press Ctrl-C to end")
            stay(page)
