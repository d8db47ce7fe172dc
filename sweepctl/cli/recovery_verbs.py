"""The verbs about runs that were disturbed: disrupt, retry.

Parse, one call, one print.
"""

from __future__ import annotations

import enum
import random
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sweepctl.cli import output
from sweepctl.cli.options import (
    Context,
    Data,
    DryRun,
    DryRunOption,
    Namespace,
    Output,
    Server,
    complete_names,
    dry_text,
    print_lines,
)
from sweepctl.cli.output import Form
from sweepctl_pod.errors import ExitCode, SweepctlError, UsageError

if TYPE_CHECKING:
    from sweepctl.sweeps.disrupt import Disrupted, Plan
    from sweepctl.sweeps.disruption import Target
    from sweepctl.sweeps.retry import Retried, Retry


class DisruptionKind(str, enum.Enum):
    """What takes a run away from its agent."""

    EVICT = "evict"
    DELETE = "delete"
    FORCE = "force"
    CRASH = "crash"


AnyName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The submitted sweep, or ENTITY/PROJECT/ID of a server's.",
        autocompletion=complete_names,
    ),
]


def disrupt(
    name: AnyName,
    kind: Annotated[
        DisruptionKind,
        typer.Option(
            "--kind",
            help="The eviction API; a delete with grace; one without; SIGKILL to the trainer.",
        ),
    ],
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, help="How many disruptions.")
    ] = 1,
    every: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--every",
            metavar="TIME",
            help="From one to the next: 30s, 5m; default: when the last one's run has gone on.",
        ),
    ] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="How long to wait for a run to go on.")
    ] = "20m",
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    dry_run: DryRunOption = DryRun.NONE,
    form: Output = Form.TABLE,
) -> None:
    """Take agents away from their runs, and tell what it cost. Try it before you trust spot nodes.

    It hits only pods of this sweep that train a run, one drawn at random each time, and watches
    until the run trains again. Of a sweep whose agents are on this machine: --kind crash. Exit code
    0 when every run went on or finished, 3 when one failed.
    """
    from sweepctl.jobs import targets
    from sweepctl.sweeps.disrupt import disrupt, rehearse
    from sweepctl.sweeps.place import Place

    plan = _plan(kind, count, every, timeout)
    sweep = targets.resolve(name, Place(namespace, context, server, data), output.say)
    with sweep.scene() as scene:
        if dry_run is not DryRun.NONE:
            chosen = rehearse(scene, plan, random.Random(), is_asked=dry_run is DryRun.SERVER)
            _print_rehearsed(chosen, plan, dry_run, form)
            return
        done = disrupt(scene, plan, random.Random(), say=output.say)
    _print_disrupted(done, count, form)


def retry(
    name: AnyName,
    runs: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[RUN]...", help="These runs; default: all failed and crashed."),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed.")] = False,
    crashed: Annotated[
        bool, typer.Option("--crashed", help="All of which nothing was heard any more.")
    ] = False,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    dry_run: DryRunOption = DryRun.NONE,
    form: Output = Form.TABLE,
) -> None:
    """Give failed runs back: the same run with the same parameters goes to the next free agent.

    It goes on from its last checkpoint, if it has one. A finished sweep is opened again. Exit code
    1 when the server did not take a run back.
    """
    from sweepctl.jobs import targets
    from sweepctl.sweeps.place import Place

    named, states = runs or [], _states(runs, failed, crashed)
    sweep = targets.resolve(name, Place(namespace, context, server, data), output.say)
    done = sweep.retry(named, states, is_dry=dry_run is not DryRun.NONE)
    _print_retried(done, dry_run, form)


def _states(runs: Sequence[str] | None, failed: bool, crashed: bool) -> tuple[str, ...]:
    """Give the states of the runs that are meant where none is named."""
    from sweepctl.sweeps.retry import RETRIED
    from sweepctl_pod.wandb.states import RunState

    if runs and (failed or crashed):
        raise UsageError(
            "some runs are named, and --failed or --crashed choose others", "leave one of them out"
        )
    if failed == crashed:
        return RETRIED
    return (RunState.FAILED.value if failed else RunState.CRASHED.value,)


def _print_retried(done: Retry, dry_run: DryRun, form: Form) -> None:
    if form.is_data:
        runs = [{"run": each.run, "was": each.was, "result": each.result} for each in done.runs]
        answer = {"sweep": done.sweep, "runs": runs, "dry_run": dry_run.value}
        output.data({**answer, "notes": list(done.notes)}, form)
    elif form is Form.NAME:
        print_lines(f"run/{each.run}" for each in done.runs)
    elif done.runs:
        print_lines(f"run/{each.run} {each.result}{dry_text(dry_run)}" for each in done.runs)
    else:
        output.answer(f"sweep/{done.sweep} unchanged: it has no such run")
    for note in done.notes if form.is_for_people else ():
        output.say(f"note: {note}")
    if done.not_taken:
        raise _not_taken(done.not_taken)


def _not_taken(runs: Sequence[Retried]) -> SweepctlError:
    """Say which runs the server has left as they were, why, and what trains them all the same."""
    reasons = dict.fromkeys(each.why for each in runs if each.why)
    names = ", ".join(each.run for each in runs)
    typed = [f"run {each.run}: {shlex.join(each.command)}" for each in runs if each.command]
    hint = "\n".join(["what trained them, to type by hand:", *typed]) if typed else None
    return SweepctlError(f"not queued: {names}: {'; '.join(reasons)}", hint)


def _plan(kind: DisruptionKind, count: int, every: str | None, timeout: str) -> Plan:
    from sweepctl.sweeps.disrupt import Plan
    from sweepctl.sweeps.disruption import Kind
    from sweepctl.sweeps.log_lines import parse_duration_s

    every_s = parse_duration_s(every, "--every") if every is not None else None
    return Plan(Kind(kind.value), count, every_s, parse_duration_s(timeout, "--timeout"))


def _print_rehearsed(chosen: Sequence[Target], plan: Plan, dry_run: DryRun, form: Form) -> None:
    from sweepctl.cli import disruption_views

    if form.is_data:
        data = [disruption_views.target_data(target, plan.kind.value) for target in chosen]
        output.data(data, form)
    elif form is Form.NAME:
        print_lines(target.object for target in chosen)
    else:
        tried = dry_text(dry_run)
        print_lines(f"{each.object} {plan.kind.value}, run {each.run}{tried}" for each in chosen)
        if plan.count > len(chosen):
            output.say(f"note: {len(chosen)} agents train a run now; the others are drawn later")


def _print_disrupted(done: Disrupted, planned: int, form: Form) -> None:
    from sweepctl.cli import disruption_views

    if form.is_data:
        output.data(disruption_views.disrupted_data(done), form)
    elif form is Form.NAME:
        print_lines(f"run/{each.target.run}" for each in done.disruptions)
    elif done.disruptions:
        wide = form is Form.WIDE
        output.console().print(disruption_views.disruptions_table(done.disruptions, wide=wide))
    for line in disruption_views.summary_lines(done):
        output.say(line)
    if done.problem is not None:
        made = f"{len(done.disruptions)} of {planned} disruptions were made"
        raise SweepctlError(f"{done.problem}; {made}")
    if done.exit_code is not ExitCode.DONE:
        raise typer.Exit(done.exit_code)
