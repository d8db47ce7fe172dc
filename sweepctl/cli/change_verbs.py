"""The verbs that change a sweep under way: scale, pause, resume, stop, delete.

Those that a server's sweeps know as well take either, as `targets` decides. Parse, one call, print.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

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
    complete_names,
    dry_text,
    print_lines,
)
from sweepctl.cli.output import Form
from sweepctl_pod.errors import SweepctlError, UsageError

if TYPE_CHECKING:
    from sweepctl.jobs.targets import Target
    from sweepctl.sweeps.handle import Change
    from sweepctl.sweeps.place import Place

SubmittedName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The submitted sweep.", autocompletion=complete_names),
]


def scale(
    name: SubmittedName,
    agents: Annotated[int, typer.Argument(metavar="N", help="How many agents.")],
    namespace: Namespace = None,
    context: Context = None,
    dry_run: DryRunOption = DryRun.NONE,
    form: Output = Form.TABLE,
) -> None:
    """Change the number of agents. Runs of agents that go are finished by the others."""
    from sweepctl.jobs import change, targets
    from sweepctl.sweeps.place import Place

    target = targets.open_target(name, Place(namespace, context))
    submission = target.submission()

    def is_open() -> bool:
        return _is_open(target)

    is_dry = dry_run is not DryRun.NONE
    done = change.scale(target.cluster, submission, agents, is_open=is_open, dry_run=is_dry)
    _print_done(done, dry_run, form)


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
    from sweepctl.sweeps.place import Place

    place = Place(namespace, context, server, data)
    _print_done(_suspend(name, place, yes, dry_run, is_paused=True), dry_run, form)


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
    from sweepctl.sweeps.place import Place

    place = Place(namespace, context, server, data)
    _print_done(_suspend(name, place, yes, dry_run, is_paused=False), dry_run, form)


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
    from sweepctl.sweeps.place import Place
    from sweepctl_pod.wandb.states import ENDED_SWEEPS

    place = Place(namespace, context, server, data)
    done = _set_state("stop", name, place, yes, dry_run, "FINISHED", "stopped", ENDED_SWEEPS)
    _print_done(done, dry_run, form)
    if done.verb != "unchanged" and dry_run is DryRun.NONE:
        output.say("the runs under way are trained to their end, then the agents leave")


def delete(
    name: SubmittedName,
    namespace: Namespace = None,
    context: Context = None,
    yes: Yes = False,
    volumes: Annotated[
        bool,
        typer.Option("--volumes", help="Its volumes too: runs, caches, the server's database."),
    ] = False,
    dry_run: DryRunOption = DryRun.NONE,
    form: Output = Form.TABLE,
) -> None:
    """Remove what submit made. The sweep at its server stays; so do volumes without --volumes.

    Exit code 1 when you answer no.
    """
    from sweepctl.jobs import change, targets
    from sweepctl.sweeps.place import Place

    target = targets.open_target(name, Place(namespace, context))
    plan = change.plan_delete(target.cluster, name, target.namespace, data=volumes)
    if not plan.deleted and form.is_for_people:
        output.answer(f"{name} unchanged: nothing to delete in namespace '{target.namespace}'")
    elif plan.deleted and dry_run is DryRun.NONE and not yes:
        _ask_to_delete(plan, target)

    done: list[tuple[str, str]] = []

    def deleted(kind: str, own: str) -> None:
        done.append((kind, own))
        if form.is_for_people:
            output.answer(f"{kind.lower()}/{own} deleted{dry_text(dry_run)}")

    if dry_run is DryRun.CLIENT:
        for kind, own in plan.deleted:
            deleted(kind, own)
    else:
        is_dry = dry_run is DryRun.SERVER
        change.delete(target.cluster, plan, dry_run=is_dry, on_deleted=deleted, say=output.say)
    if form.is_data:
        output.data([{"kind": kind, "name": own, "result": "deleted"} for kind, own in done], form)
    elif form is Form.NAME:
        print_lines(f"{kind.lower()}/{own}" for kind, own in done)
    for kind, own, why in plan.kept:
        output.say(f"kept {kind.lower()}/{own} ({why})")
    if plan.unseen:
        output.say(f"not looked for, since you may not list them: {', '.join(plan.unseen)}")


def _suspend(
    name: str | None, place: Place, yes: bool, dry_run: DryRun, *, is_paused: bool
) -> Change:
    from sweepctl.jobs import change, targets

    word, state, done = (
        ("pause", "PAUSED", "paused") if is_paused else ("resume", "RUNNING", "resumed")
    )
    if not targets.is_in_cluster(name, place):
        return _set_state(word, name, place, yes, dry_run, state, done, {state})
    target = targets.open_target(name, place)
    _ask_unless_named(word, name, f"{target.name} -n {target.namespace}", yes, dry_run)
    verb = change.pause if is_paused else change.resume
    return verb(target.cluster, target.submission(), dry_run=dry_run is not DryRun.NONE)


def _set_state(
    word: str,
    name: str | None,
    place: Place,
    yes: bool,
    dry_run: DryRun,
    state: str,
    done: str,
    unchanged: frozenset[str] | set[str],
) -> Change:
    """Set a sweep's state at its server, unless it is one of those in which nothing changes."""
    from sweepctl.jobs import targets
    from sweepctl.sweeps.handle import Change
    from sweepctl.sweeps.place import find_sweep

    with targets.open_sweep(name, place, output.say) as (api, wanted):
        sweep = find_sweep(api, wanted)
        own = f"{sweep.entity}/{sweep.project}/{sweep.id}"
        _ask_unless_named(word, name, own + _options_of(place), yes, dry_run)
        is_changed = sweep.state not in unchanged
        if is_changed and dry_run is DryRun.NONE:
            api.set_state(sweep, state)
    return Change("Sweep", own, done if is_changed else "unchanged")


def _options_of(place: Place) -> str:
    """Write the options that say at which server a sweep is."""
    named = (("--server", place.server), ("--data", place.data))
    return "".join(f" {option} {shlex.quote(str(value))}" for option, value in named if value)


def _ask_unless_named(word: str, name: str | None, own: str, yes: bool, dry_run: DryRun) -> None:
    """Ask before a sweep is changed that nobody named."""
    if name is not None or yes or dry_run is not DryRun.NONE:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"{word} which sweep? without a name it would be {own}",
            f"sweepctl {word} {own}, or say --yes",
        )
    if not typer.confirm(f"{word} {own}?", err=True):
        raise SweepctlError("nothing was changed")


def _is_open(target: Target) -> bool:
    """Ask the sweep's server whether there is work left."""
    from sweepctl.jobs import submission
    from sweepctl.sweeps.place import find_sweep
    from sweepctl_pod.wandb.states import ENDED_SWEEPS

    found = target.submission()
    with submission.open_submission_api(target.cluster, found, output.say) as api:
        sweep = find_sweep(api, submission.sweep_name(found, api))
        return sweep.state not in ENDED_SWEEPS


def _ask_to_delete(plan: Any, target: Target) -> None:
    if not sys.stdin.isatty():
        raise UsageError("delete asks, and there is no terminal to answer", "say --yes")
    output.say(f"in namespace '{target.namespace}' of context '{target.cluster.context}':")
    for kind, own in plan.deleted:
        output.say(f"  delete {kind.lower()}/{own}")
    for kind, own, why in plan.kept:
        output.say(f"  keep   {kind.lower()}/{own} ({why})")
    if not typer.confirm("delete them?", err=True):
        raise SweepctlError("nothing was deleted")


def _print_done(done: Change, dry_run: DryRun, form: Form) -> None:
    if form.is_data:
        answer = {"object": done.object, "result": done.verb, "dry_run": dry_run.value}
        output.data({**answer, "notes": list(done.notes)}, form)
        return
    verb = "" if form is Form.NAME else f" {done.verb}{dry_text(dry_run)}"
    output.answer(f"{done.object}{verb}")
    for note in done.notes:
        output.say(f"note: {note}")
