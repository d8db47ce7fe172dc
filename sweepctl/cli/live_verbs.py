"""The verbs of sweeps under way: list, wait, scale, pause, resume, stop, delete, status.

Those that a server's sweeps know as well take either, as `targets` decides. Parse, one call, print.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sweepctl.cli import output, served_verbs
from sweepctl.cli.options import (
    Context,
    Data,
    DryRun,
    DryRunOption,
    Form,
    NameArgument,
    Namespace,
    Output,
    Picture,
    Server,
    Timeout,
    complete_names,
    data_form,
    dry_text,
    print_lines,
    show_pictures,
)
from sweepctl.errors import ExitCode, SweepctlError, UsageError

if TYPE_CHECKING:
    from sweepctl.steer import Steered
    from sweepctl.targets import Target
    from sweepctl.wandb_api import WandbApi
    from sweepctl.wandb_http import SweepInfo


def list_(
    namespace: Namespace = None,
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="Of every namespace.")
    ] = False,
    selector: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("-l", "--selector", help="Only Jobs with these labels."),
    ] = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    form: Output = Form.TABLE,
) -> None:
    """List the submitted sweeps. With --server or --data, or without a cluster, a server's."""
    from sweepctl.cluster.kubeconfig import has_cluster, open_cluster

    if server or data or not (namespace or context or all_namespaces or has_cluster()):
        served_verbs.print_list(server, data, form)
        return
    from sweepctl import live
    from sweepctl.cli import cluster_views

    cluster = open_cluster(context, namespace)
    lines = live.list_jobs(cluster, None if all_namespaces else cluster.namespace, selector)
    if form in (Form.JSON, Form.YAML):
        output.data([cluster_views.job_line_data(line) for line in lines], data_form(form))
    elif form is Form.NAME:
        print_lines(f"job/{line.job}" for line in lines)
    elif lines:
        wide = form is Form.WIDE
        table = cluster_views.jobs_table(lines, wide=wide, all_namespaces=all_namespaces)
        output.console().print(table)
    else:
        where = "any namespace" if all_namespaces else f"namespace '{cluster.namespace}'"
        output.say(f"no sweeps in {where} of context '{cluster.context}'")


def status(
    name: NameArgument = None,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Go on until its end.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    form: Output = Form.TABLE,
) -> None:
    """Show a sweep: state, agents, runs, and why agents do not run.

    Without a name: the newest sweep of W&B or of this machine; with -n, or where there is neither,
    the only one of the namespace.
    """
    from sweepctl import targets

    place = targets.Place(namespace, context, server, data)
    if targets.is_in_cluster(name, place):
        show_pictures(_live_pictures(targets.open_target(name, place), form), watch)
    else:
        show_pictures(served_verbs.pictures(name, server, data, form), watch)


def wait(
    name: NameArgument = None,
    timeout: Timeout = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
) -> None:
    """Wait until the sweep has ended. Says what is awaited and why agents do not run.

    Exit code 0 when every run finished, 3 when some or all failed, 1 when it cannot go on or has
    not ended after --timeout.
    """
    from sweepctl import launch, live, targets
    from sweepctl.log_lines import parse_duration_s

    place = targets.Place(namespace, context, server, data)
    limit_s = parse_duration_s(timeout, "--timeout") if timeout else None
    if targets.is_in_cluster(name, place):
        end_of_wait(targets.open_target(name, place), limit_s)
        return
    wanted = launch.parse_sweep_name(name)
    with launch.open_api(launch.Where(server, data), wanted, output.say) as api:
        code, words = live.wait_for_sweep_end(
            api, lambda: launch.read_status(api, wanted), timeout_s=limit_s
        )
    _conclude(code, words)


def scale(
    name: Annotated[
        str, typer.Argument(help="The submitted sweep.", autocompletion=complete_names)
    ],
    agents: Annotated[int, typer.Argument(metavar="N", help="How many agents.")],
    namespace: Namespace = None,
    context: Context = None,
    dry_run: DryRunOption = DryRun.NONE,
) -> None:
    """Change the number of agents. Runs of agents that go are finished by the others."""
    from sweepctl import steer, targets

    target = targets.open_target(name, targets.Place(namespace, context))
    submission = target.submission()

    def is_open() -> bool:
        return _is_open(target)

    is_dry = dry_run is not DryRun.NONE
    done = steer.scale(target.cluster, submission, agents, is_open=is_open, dry_run=is_dry)
    _print_steered(done, dry_run)


def pause(
    name: NameArgument = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    dry_run: DryRunOption = DryRun.NONE,
) -> None:
    """Free the GPUs: agents hand their runs back and their pods go.

    A server's sweep hands out no new runs; those under way go on.
    """
    _suspend(name, namespace, context, server, data, dry_run, is_paused=True)


def resume(
    name: NameArgument = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    dry_run: DryRunOption = DryRun.NONE,
) -> None:
    """Let a paused sweep go on."""
    _suspend(name, namespace, context, server, data, dry_run, is_paused=False)


def stop(
    name: NameArgument = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    dry_run: DryRunOption = DryRun.NONE,
) -> None:
    """End the sweep after its current runs. It hands out no more, and the agents leave."""
    from sweepctl import launch, targets
    from sweepctl.status import ENDED_SWEEP

    place = targets.Place(namespace, context, server, data)
    with targets.open_sweep(name, place, output.say) as (api, wanted):
        sweep = launch.find_sweep(api, wanted)
        is_changed = sweep.state not in ENDED_SWEEP
        _set_state(api, sweep, "FINISHED", "stopped" if is_changed else None, dry_run)
    if is_changed and dry_run is DryRun.NONE:
        output.say("the runs under way are trained to their end, then the agents leave")


def delete(
    name: Annotated[
        str, typer.Argument(help="The submitted sweep.", autocompletion=complete_names)
    ],
    namespace: Namespace = None,
    context: Context = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    with_data: Annotated[
        bool, typer.Option("--data", help="Its volumes too: runs, caches, the server's database.")
    ] = False,
    dry_run: DryRunOption = DryRun.NONE,
) -> None:
    """Remove what submit made. The sweep at its server stays, and so do volumes without --data.

    Exit code 1 when you answer no.
    """
    from sweepctl import steer, targets

    target = targets.open_target(name, targets.Place(namespace, context))
    plan = steer.plan_delete(target.cluster, name, target.namespace, data=with_data)
    if not plan.deleted:
        output.answer(f"{name} unchanged: nothing to delete in namespace '{target.namespace}'")
    elif dry_run is DryRun.NONE and not yes:
        _ask_to_delete(plan, target)

    def deleted(kind: str, own: str) -> None:
        output.answer(f"{kind.lower()}/{own} deleted{dry_text(dry_run)}")

    if dry_run is DryRun.CLIENT:
        for kind, own in plan.deleted:
            deleted(kind, own)
    else:
        is_dry = dry_run is DryRun.SERVER
        steer.delete(target.cluster, plan, dry_run=is_dry, on_deleted=deleted, say=output.say)
    for kind, own, why in plan.kept:
        output.say(f"kept {kind.lower()}/{own} ({why})")
    if plan.unseen:
        output.say(f"not looked for, since you may not list them: {', '.join(plan.unseen)}")


def _live_pictures(target: Target, form: Form) -> Iterator[Picture]:
    """Give what there is to show of a submitted sweep, again and again."""
    from sweepctl import live
    from sweepctl.cli import cluster_views

    while True:
        seen = live.read_live(target.cluster, target.name, target.namespace, output.say)
        job = seen.job
        yield Picture(
            view=partial(cluster_views.live_view, seen, wide=form is Form.WIDE),
            data=partial(cluster_views.live_data, seen),
            name=f"job/{job.job}" if job else None,
            form=form,
            is_last=job is None or job.end is not None,
        )


def _suspend(
    name: str | None,
    namespace: str | None,
    context: str | None,
    server: str | None,
    data: Path | None,
    dry_run: DryRun,
    *,
    is_paused: bool,
) -> None:
    from sweepctl import launch, steer, targets

    place = targets.Place(namespace, context, server, data)
    if targets.is_in_cluster(name, place):
        target = targets.open_target(name, place)
        verb = steer.pause if is_paused else steer.resume
        is_dry = dry_run is not DryRun.NONE
        _print_steered(verb(target.cluster, target.submission(), dry_run=is_dry), dry_run)
        return
    wanted = launch.parse_sweep_name(name)
    state, done = ("PAUSED", "paused") if is_paused else ("RUNNING", "resumed")
    with launch.open_api(launch.Where(server, data), wanted, output.say) as api:
        sweep = launch.find_sweep(api, wanted)
        _set_state(api, sweep, state, None if sweep.state == state else done, dry_run)


def _set_state(
    api: WandbApi, sweep: SweepInfo, state: str, verb: str | None, dry_run: DryRun
) -> None:
    """Set a sweep's state at its server and say so with `verb`; None: it is so already."""
    if verb is not None and dry_run is DryRun.NONE:
        api.set_state(sweep, state)
    name = f"sweep/{sweep.entity}/{sweep.project}/{sweep.id}"
    output.answer(f"{name} {verb or 'unchanged'}{dry_text(dry_run)}")


def end_of_wait(
    target: Target, limit_s: float | None, tell: Callable[[str], None] = output.answer
) -> None:
    """Wait for the end of a submitted sweep and `tell` how it was."""
    from sweepctl.live import wait_for_end

    output.say(f"waiting for {target.name}; watch it: sweepctl status {target.name} -w"
               f" -n {target.namespace}")  # fmt: skip
    _conclude(
        *wait_for_end(
            target.cluster, target.name, target.namespace, timeout_s=limit_s, say=output.say
        ),
        tell,
    )


def _conclude(code: ExitCode, words: str, tell: Callable[[str], None] = output.answer) -> None:
    if code is ExitCode.FAILED:
        raise SweepctlError(words)
    tell(words)
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


def _is_open(target: Target) -> bool:
    """Ask the sweep's server whether there is work left."""
    from sweepctl import launch, submission
    from sweepctl.status import ENDED_SWEEP

    found = target.submission()
    with submission.open_submission_api(target.cluster, found, output.say) as api:
        sweep = launch.find_sweep(api, submission.sweep_name(found, api))
        return sweep.state not in ENDED_SWEEP


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


def _print_steered(done: Steered, dry_run: DryRun) -> None:
    output.answer(f"{done.object} {done.verb}{dry_text(dry_run)}")
    for note in done.notes:
        output.say(f"note: {note}")
