"""The verbs that change a sweep under way, wherever it lives: pause, resume, stop.

Parse, one call, one print. Which sweep is meant is decided by `targets`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from sweepctl.cli import output
from sweepctl.cli.options import (
    Context,
    Data,
    DryRun,
    DryRunOption,
    NameArgument,
    Namespace,
    Output,
    Server,
    Yes,
    print_change,
)
from sweepctl.cli.output import Form
from sweepctl_pod.errors import SweepctlError, UsageError

if TYPE_CHECKING:
    from sweepctl.sweeps.handle import Change, StateChange
    from sweepctl.sweeps.place import Place


def pause(
    name: NameArgument = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    yes: Yes = False,
    dry_run: DryRunOption = DryRun.NONE,
    form: Output = Form.TABLE,
) -> None:
    """Free the GPUs: agents hand their runs back and their pods go.

    A server's sweep hands out no new runs; those under way go on. Without a name it asks first.
    """
    from sweepctl.sweeps.handle import PAUSE
    from sweepctl.sweeps.place import Place

    place = Place(namespace, context, server, data)
    print_change(_set_state(PAUSE, name, place, yes, dry_run), dry_run, form)


def resume(
    name: NameArgument = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    yes: Yes = False,
    dry_run: DryRunOption = DryRun.NONE,
    form: Output = Form.TABLE,
) -> None:
    """Let a paused sweep go on. Without a name it asks first."""
    from sweepctl.sweeps.handle import RESUME
    from sweepctl.sweeps.place import Place

    place = Place(namespace, context, server, data)
    print_change(_set_state(RESUME, name, place, yes, dry_run), dry_run, form)


def stop(
    name: NameArgument = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    yes: Yes = False,
    dry_run: DryRunOption = DryRun.NONE,
    form: Output = Form.TABLE,
) -> None:
    """End the sweep after its current runs. It hands out no more, and the agents leave.

    Without a name it asks first.
    """
    from sweepctl.sweeps.handle import STOP
    from sweepctl.sweeps.place import Place

    place = Place(namespace, context, server, data)
    done = _set_state(STOP, name, place, yes, dry_run)
    print_change(done, dry_run, form)
    if done.verb != "unchanged" and dry_run is DryRun.NONE:
        output.say("the runs under way are trained to their end, then the agents leave")


def _set_state(
    change: StateChange, name: str | None, place: Place, yes: bool, dry_run: DryRun
) -> Change:
    """Change the state of the sweep that is meant; one that nobody named is asked about."""
    from sweepctl.jobs import targets

    def ask(own: str) -> None:
        if name is None and not yes and dry_run is DryRun.NONE:
            _ask(change.verb, own)

    sweep = targets.resolve(name, place, output.say)
    return sweep.set_state(change, ask=ask, is_dry=dry_run is not DryRun.NONE)


def _ask(verb: str, own: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            f"{verb} which sweep? without a name it would be {own}",
            f"sweepctl {verb} {own}, or say --yes",
        )
    if not typer.confirm(f"{verb} {own}?", err=True):
        raise SweepctlError("nothing was changed")
