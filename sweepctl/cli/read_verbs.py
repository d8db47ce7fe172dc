"""The verbs that look at sweeps, wherever they live: list, status, logs, wait, best, report.

Parse, one call, one print. Which sweep is meant is decided by `targets`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sweepctl.cli import output
from sweepctl.cli.options import (
    Context,
    Data,
    GrammarOption,
    NameArgument,
    Namespace,
    Output,
    Server,
    SweepArgument,
    Timeout,
    end_with,
    print_lines,
    read_grammar,
)
from sweepctl.cli.output import Form
from sweepctl_pod.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from sweepctl.jobs.targets import SubmittedList
    from sweepctl.report.outputs import Output as Written
    from sweepctl.sweeps.best import RankedRun
    from sweepctl.sweeps.handle import SweepHandle
    from sweepctl.sweeps.seen import SweepLine
    from sweepctl.sweeps.status import SweepStatus


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

    place = Place(namespace, context, server, data, selector, all_namespaces)
    found = targets.list_all(place, output.say)
    if isinstance(found, list):
        _print_sweeps(found, form)
    else:
        _print_jobs(found, form, all_namespaces=all_namespaces)


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
    the only one of the namespace. -o wide and json also tell the attempts of each run, what ended
    them and how many iterations were trained again; W&B is asked that for 60 runs at most.
    """
    from sweepctl.cli.snapshots import show_snapshots, snapshot_of
    from sweepctl.jobs import targets
    from sweepctl.sweeps.place import Place

    sweep = targets.resolve(name, Place(namespace, context, server, data), output.say)
    has_records = form is Form.WIDE or form.is_data
    seen = sweep.status(has_records=has_records)
    show_snapshots((snapshot_of(each, form) for each in seen), watch)


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
    from sweepctl.cli.log_views import print_logs
    from sweepctl.jobs import targets
    from sweepctl.sweeps.log_lines import LogOptions, parse_duration_s
    from sweepctl.sweeps.place import Place

    sweep = targets.resolve(name, Place(namespace, context, server, data), output.say)
    since_s = parse_duration_s(since, "--since") if since else None
    is_terminal = sys.stdout.isatty()
    options = LogOptions(agent, run, previous, since_s, follows, is_terminal, timestamps, most)
    print_logs(sweep.logs(options), options)


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
    from sweepctl.jobs import targets
    from sweepctl.sweeps.log_lines import parse_duration_s
    from sweepctl.sweeps.place import Place

    limit_s = parse_duration_s(timeout, "--timeout") if timeout else None
    sweep = targets.resolve(name, Place(namespace, context, server, data), output.say)
    code, words = sweep.wait(limit_s)
    if code is not ExitCode.FAILED:
        command = ["sweepctl report", sweep.here, "-o report.html"]
        output.say(f"its report: {' '.join(filter(None, command))}")
    end_with(code, words)


def best(
    sweep: SweepArgument = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many runs.")] = 10,
    grammar: GrammarOption = "auto",
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    form: Output = Form.TABLE,
) -> None:
    """Rank the finished runs. Show the best one's exact values and the command that repeats it.

    Exit code 1 when no run has finished with the metric.
    """
    from sweepctl.jobs import targets
    from sweepctl.sweeps.place import Place

    wanted = read_grammar(grammar)
    handle = targets.resolve(sweep, Place(namespace, context, server, data), output.say)
    seen, runs = handle.best(top, wanted, recorded=top if form.is_data else 1)  # those shown
    _print_best(seen, runs, form)
    if not runs:
        raise typer.Exit(ExitCode.FAILED)


def report(
    sweep: SweepArgument = None,
    outputs: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            *("-o", "--output"),
            metavar="FILE",
            help="report.html, report.md, runs.csv or runs.parquet; - prints. May be repeated.",
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option("--top", metavar="N", min=1, max=100, help="How many of the best to detail."),
    ] = 10,
    follows: Annotated[
        bool, typer.Option("--follow", help="Write it again until the sweep has ended.")
    ] = False,
    uploads: Annotated[
        bool, typer.Option("--upload", help="Log it to the sweep's project, in a run of its own.")
    ] = False,
    folder: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--to", metavar="DIR", help="Write all histories as Parquet files to DIR."),
    ] = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
) -> None:
    """Write a sweep's report: one HTML file with all figures, which opens without a network.

    It has the ranking, the curves of the best runs and the commands that repeat them, why runs
    failed, and the sweep file. So has report.md; runs.csv and runs.parquet have one row a run.
    html, md or csv alone is printed. --to DIR writes DIR/runs.parquet, and DIR/history/RUN.parquet
    with one row a logged step. Parquet, --to and --upload need the extra `report`.
    """
    from sweepctl.jobs import targets
    from sweepctl.report.outputs import Wish, write_reports
    from sweepctl.sweeps.place import Place

    form, wanted = _report_forms(outputs or [], folder, uploads=uploads)
    handle = targets.resolve(sweep, Place(namespace, context, server, data), output.say)
    if folder is not None:
        _write_tables(handle, folder, form)
    if wanted or uploads:
        tell = output.answer if all(each.file for each in wanted) else output.say
        wish = Wish(wanted, top, follows, uploads)
        write_reports(handle, wish, show=output.raw, tell=tell)


def _print_sweeps(lines: list[SweepLine], form: Form) -> None:
    from dataclasses import asdict

    from sweepctl.cli import views

    if form.is_data:
        output.data([asdict(line) for line in lines], form)
    elif form is Form.NAME:
        print_lines(f"sweep/{line.sweep}" for line in lines)
    else:
        output.console().print(views.sweeps_table(lines, wide=form is Form.WIDE))


def _print_jobs(found: SubmittedList, form: Form, *, all_namespaces: bool) -> None:
    from sweepctl.cli import job_views

    if form.is_data:
        output.data([job_views.job_line_data(line) for line in found.jobs], form)
    elif form is Form.NAME:
        print_lines(f"job/{line.job}" for line in found.jobs)
    elif found.jobs:
        wide = form is Form.WIDE
        table = job_views.jobs_table(found.jobs, wide=wide, all_namespaces=all_namespaces)
        output.console().print(table)
    else:
        output.say(f"no sweeps in {found.where}")


def _report_forms(
    texts: Sequence[str], folder: Path | None, *, uploads: bool
) -> tuple[Form, Sequence[Written]]:
    """Read -o of `report`: files to write, and with --to the form of the answer."""
    from sweepctl.report.outputs import read_outputs

    forms = [text for text in texts if text in {form.value for form in Form}]
    if forms and folder is None:
        hint = "write -o report.html; the forms of an answer are for --to DIR"
        raise UsageError(f"-o {forms[0]}: a report is no {forms[0]}", hint)
    if not texts and folder is None and not uploads:
        raise UsageError("what to write?", "sweepctl report SWEEP -o report.html")
    files = [text for text in texts if text not in forms]
    return Form(forms[-1]) if forms else Form.TABLE, read_outputs(files)


def _write_tables(sweep: SweepHandle, folder: Path, form: Form) -> None:
    from sweepctl.sweeps.extras import require_extra
    from sweepctl.sweeps.tables import write_sweep

    require_extra("report", "report")
    written = write_sweep(sweep, folder, output.say)
    if form.is_data:
        output.data([{"file": str(folder / file), "rows": n} for file, n in written.items()], form)
    elif form is Form.NAME:
        print_lines(str(folder / file) for file in written)
    else:
        print_lines(f"{folder / file}: {rows} rows" for file, rows in written.items())


def _print_best(status: SweepStatus, runs: Sequence[RankedRun], form: Form) -> None:
    from sweepctl.cli import views

    if form.is_data:
        output.data(views.best_data(status, runs), form)
    elif form is Form.NAME:
        print_lines(f"run/{ranked.run.id}" for ranked in runs)
    else:
        views.print_best(status, runs)
