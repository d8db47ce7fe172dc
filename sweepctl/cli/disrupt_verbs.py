"""The verbs about runs that were taken away from their agents: disrupt.

Parse, one call, one print.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sweepctl.cli import output
from sweepctl.cli.options import (
    Context,
    DryRun,
    DryRunOption,
    Namespace,
    Output,
    SubmittedName,
    dry_text,
    print_lines,
)
from sweepctl.cli.output import Form
from sweepctl_pod.errors import ExitCode, SweepctlError

if TYPE_CHECKING:
    from sweepctl.sweeps.disrupt import Disrupted, Plan
    from sweepctl.sweeps.disruption import Target


class DisruptionKind(str, enum.Enum):
    """What takes a run away from its agent."""

    EVICT = "evict"
    DELETE = "delete"
    FORCE = "force"
    CRASH = "crash"


def disrupt(
    name: SubmittedName,
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
    dry_run: DryRunOption = DryRun.NONE,
    form: Output = Form.TABLE,
) -> None:
    """Take agents away from their runs, and tell what it cost. Try it before you trust spot nodes.

    It hits only pods of this sweep that train a run, one drawn at random each time, and watches
    until the run trains again. Exit code 0 when every run went on or finished, 3 when one failed.
    """
    from sweepctl.jobs import targets
    from sweepctl.jobs.disrupt import cluster_scene
    from sweepctl.sweeps.disrupt import disrupt, rehearse
    from sweepctl.sweeps.place import Place

    plan = _plan(kind, count, every, timeout)
    sweep = targets.resolve_submitted(name, Place(namespace, context), output.say)
    with cluster_scene(sweep) as scene:
        if dry_run is not DryRun.NONE:
            chosen = rehearse(scene, plan, random.Random(), is_asked=dry_run is DryRun.SERVER)
            _print_rehearsed(chosen, plan, dry_run, form)
            return
        done = disrupt(scene, plan, random.Random(), say=output.say)
    _print_disrupted(done, count, form)


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
        print_lines(f"pod/{target.pod}" for target in chosen)
    else:
        tried = dry_text(dry_run)
        print_lines(f"pod/{each.pod} {plan.kind.value}, run {each.run}{tried}" for each in chosen)
        if plan.count > len(chosen):
            output.say(f"note: {len(chosen)} pods train a run now; the others are drawn later")


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
