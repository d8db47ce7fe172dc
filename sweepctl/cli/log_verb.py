"""The verb `logs`: what agents and trainers have printed, wherever a sweep is. Never empty words.

In a cluster the pods tell it, line by line as it comes; what no pod has any more, and the output of
sweeps elsewhere, is what was uploaded with the runs, or what agents keep on this machine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sweepctl.cli import output
from sweepctl.cli.options import (
    Context,
    Data,
    NameArgument,
    Namespace,
    Server,
    is_coloured,
    print_lines,
)
from sweepctl_pod.errors import SweepctlError, UsageError

if TYPE_CHECKING:
    from sweepctl.jobs.logs import LogOptions
    from sweepctl.jobs.targets import Target
    from sweepctl.sweeps.api import SweepSource
    from sweepctl.sweeps.log_lines import Line
    from sweepctl_pod.wandb.client import RunInfo, SweepInfo

_MOST_NAMED = 10


def logs(
    name: NameArgument = None,
    agent: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--agent", metavar="N", min=0, help="Only this agent's lines, by its index."),
    ] = None,
    run: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--run", help="Only the lines of this run, on whichever agents."),
    ] = None,
    previous: Annotated[
        bool, typer.Option("--previous", help="Of the pods before the present ones.")
    ] = False,
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--since", metavar="TIME", help="Only lines younger than: 30s, 10m, 2h."),
    ] = None,
    follows: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--follow/--no-follow", help="Go on; default: on a terminal."),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Show each line's time.")
    ] = False,
    most: Annotated[
        int,
        typer.Option(
            "--max-log-requests", metavar="N", min=1, help="How many logs to read at once."
        ),
    ] = 50,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
) -> None:
    """Show the logs of all agents as one. Each line once, across replaced pods.

    Of a sweep that is in no cluster: what its runs have printed. Exit code 1 when there is no line,
    and when one log cannot be read whole, after what can be.
    """
    from sweepctl.jobs import targets
    from sweepctl.sweeps.place import Place

    place = Place(namespace, context, server, data)
    if not targets.is_in_cluster(name, place):
        _refuse_in_vain(
            {
                "--agent": agent is not None,
                "--previous": previous,
                "--since": since is not None,
                "--follow": bool(follows),
                "--timestamps": timestamps,
            }
        )
        _print_served(name, server, data, run)
        return
    target = targets.open_target(name, place)
    options = _log_options(agent, run, previous, since, most)
    if (sys.stdout.isatty() if follows is None else follows) and not previous:
        if run is not None:
            _check_run(target, run)
        is_any = follow(target, options, timestamps)
    else:
        is_any = _print_read(target, options, timestamps)
    if not is_any:
        _explain_silence(target, options)


def _refuse_in_vain(given: Mapping[str, bool]) -> None:
    """Refuse what can be asked of pods alone, before an answer that leaves it out."""
    for option in (option for option, is_given in given.items() if is_given):
        raise UsageError(
            f"{option} is for the logs of pods, and this sweep is in no cluster",
            "what its runs have printed is told by run: --run RUN; status -w shows how they go on",
        )


def follow(target: Target, options: LogOptions, timestamps: bool) -> bool:
    """Print lines as they come, until the Job has ended and all are read; say if there were any."""
    from sweepctl.jobs import logs, submission
    from sweepctl.kube.errors import ClusterError

    def is_over() -> bool:
        try:
            seen = submission.find_submission(target.cluster, target.name, target.namespace)
        except ClusterError:
            return False
        return seen.job is None or submission.job_end(seen.job) is not None

    lines = logs.follow_logs(
        target.cluster, target.name, target.namespace, options, say=output.say, is_over=is_over
    )
    return _print_all(lines, target, options, timestamps)


def _print_read(target: Target, options: LogOptions, timestamps: bool) -> bool:
    """Print the lines that are there; say if there were any."""
    from sweepctl.jobs import logs

    lines = logs.read_logs(target.cluster, target.name, target.namespace, options)
    return _print_all(lines, target, options, timestamps)


def _print_all(
    lines: Iterator[Line], target: Target, options: LogOptions, timestamps: bool
) -> bool:
    from sweepctl.cli import cluster_views

    job = target.submission().job
    line = None
    for line in lines:
        text = cluster_views.log_text(
            line,
            job=job["metadata"]["name"] if job else "",
            timestamps=timestamps,
            prefix=options.agent is None,
            coloured=is_coloured(),
        )
        print(text, flush=True)
    return line is not None


def _check_run(target: Target, run: str) -> None:
    """Refuse to wait for the lines of a run that the sweep does not have."""
    from sweepctl.jobs.submission import open_submission_api, sweep_name

    submission = target.submission()
    try:
        with open_submission_api(target.cluster, submission, output.say) as api:
            wanted = sweep_name(submission, api)
            sweep = api.sweep(wanted.entity or "", wanted.project or "", wanted.id or "")
            runs = api.runs(sweep)
    except SweepctlError:
        return  # not known now; the lines may come all the same
    _chosen(sweep, runs, run)


def _explain_silence(target: Target, options: LogOptions) -> None:
    """Print what was uploaded with a run that no pod tells of; else say where to look."""
    from sweepctl.jobs.submission import open_submission_api, sweep_name
    from sweepctl.sweeps.place import find_sweep

    status = f"what the agents do: sweepctl status {target.name} -n {target.namespace}"
    if options.run is None:
        raise SweepctlError("no such lines", status)
    submission = target.submission()
    with open_submission_api(target.cluster, submission, output.say) as api:
        sweep = find_sweep(api, sweep_name(submission, api))
        _print_runs(api, sweep, _chosen(sweep, api.runs(sweep), options.run), None, status)


def _print_served(name: str | None, server: str | None, data: Path | None, run: str | None) -> None:
    """Print what the runs of a sweep have printed that is in no cluster."""
    from sweepctl.server.server_process import default_data
    from sweepctl.sweeps.names import parse_sweep_name
    from sweepctl.sweeps.place import Place, find_sweep, open_source, server_of

    place = Place(server=server, data=data)
    wanted = parse_sweep_name(name)
    is_here = server_of(place, wanted) is None
    with open_source(place, wanted, output.say) as api:
        sweep = find_sweep(api, wanted)
        chosen = _chosen(sweep, api.runs(sweep), run)
        kept = (data or default_data()) if is_here else None
        status = f"sweepctl status {sweep.entity}/{sweep.project}/{sweep.id} tells how its runs do"
        _print_runs(api, sweep, chosen, kept, status, prefix=run is None)


def _chosen(sweep: SweepInfo, runs: list[RunInfo], run: str | None) -> list[RunInfo]:
    if not runs:
        raise SweepctlError(f"sweep {sweep.id} has no runs yet", "an agent has to take one first")
    found = [each for each in runs if run in (None, each.id)]
    if not found:
        known = ", ".join(each.id for each in runs[-_MOST_NAMED:])
        more = f" and {len(runs) - _MOST_NAMED} more" if len(runs) > _MOST_NAMED else ""
        raise SweepctlError(f"sweep {sweep.id} has no run {run}", f"it has {known}{more}")
    return found


def _print_runs(
    api: SweepSource,
    sweep: SweepInfo,
    runs: list[RunInfo],
    kept: Path | None,
    status: str,
    *,
    prefix: bool = False,
) -> None:
    """Print the output of runs, from this machine's own files where they are `kept`."""
    from sweepctl.sweeps.run_output import kept_lines
    from sweepctl.sweeps.status import why_not_finished

    silent = []
    for run in runs:
        before = f"{run.id} | " if prefix else ""
        own = kept_lines(kept, sweep.id, run.id) if kept is not None else ()
        if not _print_lines(own, before) and not _print_lines(api.run_log(sweep, run.id), before):
            silent.append(run)
        elif not prefix and (why := why_not_finished(run)):
            output.say(f"run {run.id} {run.state}: {why}")
    if len(silent) == len(runs):
        names = ", ".join(run.id for run in silent[:_MOST_NAMED])
        raise SweepctlError(f"there is no output of {names}", f"{_where(silent[0])}\n{status}")
    for run in silent:
        output.say(f"run {run.id}: no output; {_where(run)}")


def _where(run: RunInfo) -> str:
    """Say where the output of a run is to be found that was not uploaded."""
    if run.state == "pending":
        return "it has not started"
    host = f" on {run.host}" if run.host else ""
    return (
        f"its agent{host} keeps all of it in RUN/trainer.log of its work folder (SWEEPCTL_WORK); "
        "`wandb agent` keeps none, its terminal has shown it"
    )


def _print_lines(lines: Iterable[str], before: str) -> bool:
    return print_lines(f"{before}{line}" for line in lines)


def _log_options(
    agent: int | None, run: str | None, previous: bool, since: str | None, most: int
) -> LogOptions:
    from sweepctl.jobs.logs import LogOptions
    from sweepctl.sweeps.log_lines import parse_duration_s

    since_s = parse_duration_s(since, "--since") if since else None
    return LogOptions(agent, run, previous, since_s, most)
