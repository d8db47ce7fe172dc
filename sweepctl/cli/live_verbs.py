"""The verbs that look at sweeps under way: list, status, wait.

Those that a server's sweeps know as well take either, as `targets` decides. Parse, one call, print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sweepctl.cli import output, served_verbs
from sweepctl.cli.options import (
    Context,
    Data,
    NameArgument,
    Namespace,
    Output,
    Picture,
    Server,
    Timeout,
    print_lines,
    show_pictures,
)
from sweepctl.cli.output import Form
from sweepctl_pod.errors import ExitCode, SweepctlError

if TYPE_CHECKING:
    from sweepctl.jobs.targets import Target


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
    """List the sweeps that there are.

    The submitted ones with -n, -A, -l or --context; else those of W&B or of this machine, and the
    submitted ones for who has neither.
    """
    from sweepctl.jobs import targets
    from sweepctl.sweeps.place import Place

    in_cluster = all_namespaces or selector is not None
    place = Place(namespace, context, server, data, wants_cluster=in_cluster)
    if not targets.is_in_cluster(None, place):
        served_verbs.print_list(server, data, form)
        return
    from sweepctl.cli import cluster_views
    from sweepctl.jobs import state
    from sweepctl.kube.kubeconfig import open_cluster

    cluster = open_cluster(context, namespace)
    lines = state.list_jobs(cluster, None if all_namespaces else cluster.namespace, selector)
    if form.is_data:
        output.data([cluster_views.job_line_data(line) for line in lines], form)
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
    from sweepctl.jobs import targets
    from sweepctl.sweeps.place import Place

    place = Place(namespace, context, server, data)
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
    from sweepctl.jobs import state, targets
    from sweepctl.sweeps.handle import read_status
    from sweepctl.sweeps.log_lines import parse_duration_s
    from sweepctl.sweeps.names import parse_sweep_name
    from sweepctl.sweeps.place import Place, open_api

    place = Place(namespace, context, server, data)
    limit_s = parse_duration_s(timeout, "--timeout") if timeout else None
    if targets.is_in_cluster(name, place):
        end_of_wait(targets.open_target(name, place), limit_s)
        return
    wanted = parse_sweep_name(name)
    with open_api(Place(server=server, data=data), wanted, output.say) as api:
        code, words = state.wait_for_sweep_end(
            api, lambda: read_status(api, wanted), timeout_s=limit_s
        )
    _conclude(code, words)


def _live_pictures(target: Target, form: Form) -> Iterator[Picture]:
    """Give what there is to show of a submitted sweep, again and again."""
    from sweepctl.cli import cluster_views
    from sweepctl.jobs import state

    while True:
        seen = state.read_live(target.cluster, target.name, target.namespace, output.say)
        job = seen.job
        yield Picture(
            view=partial(cluster_views.live_view, seen, wide=form is Form.WIDE),
            data=partial(cluster_views.live_data, seen),
            name=f"job/{job.job}" if job else None,
            form=form,
            is_last=job is None or job.end is not None,
        )


def end_of_wait(
    target: Target, limit_s: float | None, tell: Callable[[str], None] = output.answer
) -> None:
    """Wait for the end of a submitted sweep and `tell` how it was."""
    from sweepctl.jobs.state import wait_for_end

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
