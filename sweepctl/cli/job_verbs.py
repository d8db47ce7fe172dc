"""The verbs of sweeps in a cluster alone: submit, scale, delete, doctor.

Parse, one call, one print; the views are `job_views`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sweepctl.cli import output
from sweepctl.cli.options import (
    Agents,
    Context,
    DryRun,
    DryRunOption,
    Files,
    Gpus,
    Image,
    NameOption,
    Namespace,
    Output,
    Seed,
    ServerOption,
    Sets,
    SubmittedName,
    SweepFile,
    SweepOption,
    WithServer,
    Yes,
    dry_text,
    end_with,
    load_spec,
    print_change,
    print_lines,
    read_settings,
)
from sweepctl.cli.output import Form
from sweepctl_pod.errors import ExitCode, SweepctlError, UsageError

if TYPE_CHECKING:
    from sweepctl.jobs.change import DeletePlan
    from sweepctl.jobs.cluster_sweep import ClusterSweep
    from sweepctl.jobs.doctor_checks import Check
    from sweepctl.jobs.submit import Submitted
    from sweepctl.kube.client import Cluster
    from sweepctl.sweeps.handle import Change


def submit(
    file: SweepFile,
    agents: Agents = None,
    name: NameOption = None,
    namespace: Namespace = None,
    context: Context = None,
    files: Files = None,
    sets: Sets = None,
    image: Image = None,
    gpus: Gpus = None,
    sweep: SweepOption = None,
    server: ServerOption = None,
    with_server: WithServer = False,
    create_secret: Annotated[
        bool, typer.Option("--create-secret", help="Make the API key's Secret from your login.")
    ] = False,
    dry_run: DryRunOption = DryRun.NONE,
    force_conflicts: Annotated[
        bool, typer.Option("--force-conflicts", help="Take over fields that others have set.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the sweep.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Show the agents' logs until then.")] = False,
    form: Output = Form.TABLE,
    seed: Seed = None,
) -> None:
    """Create the sweep and the Job whose agents train it. Twice is the same as once.

    With --wait or --logs: exit code 0 when every run finished, 3 when some or all failed. With
    -o json, yaml or name, how the sweep ended is said on stderr; --logs is for tables only.
    """
    from sweepctl.jobs.existing import SubmitOptions
    from sweepctl.jobs.submit import Submitter, name_of
    from sweepctl.kube.kubeconfig import open_cluster

    _refuse_logs_as_data(logs, form)
    spec = load_spec(file)
    given = {"agents": agents, "image": image, "gpus_per_agent": gpus, "sweep": sweep, "seed": seed}
    values = read_settings(files, sets, **given, server=server, with_server=with_server)
    chosen = name_of(spec, file, name)
    cluster = open_cluster(context, namespace)
    options = SubmitOptions(chosen, create_secret, dry_run.value, force_conflicts)
    show = _printer(form)
    done = Submitter(cluster, spec, values, options, say=output.say, on_change=show).run()
    _print_submitted(done, form, dry_run)
    if dry_run is DryRun.NONE and (wait or logs):
        _await_end(cluster, done, logs, form)


def scale(
    name: SubmittedName,
    agents: Annotated[int, typer.Argument(metavar="N", help="How many agents.")],
    namespace: Namespace = None,
    context: Context = None,
    dry_run: DryRunOption = DryRun.NONE,
    form: Output = Form.TABLE,
) -> None:
    """Change the number of agents. Runs of agents that go are finished by the others."""
    from sweepctl.jobs import targets
    from sweepctl.sweeps.place import Place

    sweep = targets.resolve_submitted(name, Place(namespace, context), output.say)
    done = sweep.scale(agents, is_dry=dry_run is not DryRun.NONE)
    print_change(done, dry_run, form)


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

    sweep = targets.resolve_submitted(name, Place(namespace, context), output.say)
    plan = change.plan_delete(sweep.cluster, name, sweep.namespace, data=volumes)
    if not plan.deleted and form.is_for_people:
        output.answer(f"{name} unchanged: nothing to delete in namespace '{sweep.namespace}'")
    elif plan.deleted and dry_run is DryRun.NONE and not yes:
        _ask_to_delete(plan, sweep)
    done = _delete(plan, sweep, dry_run, form)
    _print_deleted(done, plan, form)


def doctor(
    namespace: Namespace = None,
    context: Context = None,
    files: Files = None,
    sets: Sets = None,
    image: Image = None,
    server: ServerOption = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe", help="Start a small pod that asks the server from inside."
        ),
    ] = True,
    form: Output = Form.TABLE,
) -> None:
    """Say whether this cluster can run a sweep, and what is missing.

    Exit code 0 when nothing is missing, 1 otherwise.
    """
    from sweepctl.jobs.doctor import examine
    from sweepctl.jobs.doctor_checks import Level
    from sweepctl.kube.kubeconfig import open_cluster

    output.check_has_names(form, "a check")
    values = read_settings(files, sets, image=image, server=server)
    cluster = open_cluster(context, namespace)
    on_check = _check_printer(form)
    checks = examine(cluster, values, cluster.namespace, probe=probe, on_check=on_check)
    if not form.is_for_people:
        _print_checks(checks, form)
    if any(check.level is Level.MISSING for check in checks):
        raise typer.Exit(ExitCode.FAILED)


def _refuse_logs_as_data(logs: bool, form: Form) -> None:
    if logs and not form.is_for_people:
        raise UsageError(
            f"--logs and -o {form.value} would both write to stdout",
            "leave one out, or show the logs by sweepctl logs",
        )


def _printer(form: Form) -> Callable[[Change], None]:
    """Give what prints each object that a submit makes, as it is made; only for people."""

    def show(change: Change) -> None:
        if form.is_for_people:
            print(f"{change.object} {change.verb}", flush=True)

    return show


def _print_submitted(done: Submitted, form: Form, dry_run: DryRun) -> None:
    from sweepctl.cli import job_views

    for note in done.notes:
        output.say(f"note: {note}")
    if form.is_data:
        if dry_run is DryRun.CLIENT:
            output.answer(job_views.objects_text(done.objects, form.value))
        else:
            output.data(job_views.submitted_data(done), form)
    elif form is Form.NAME:
        output.answer(f"job/{done.job}")
    elif dry_run is DryRun.NONE:
        if done.page:
            output.say(f"watch the runs:   {done.page}")
        output.say(f"watch the agents: sweepctl status {done.name} -w -n {done.namespace}")


def _await_end(cluster: Cluster, done: Submitted, logs: bool, form: Form) -> None:
    """Wait for the end of what was submitted, with the agents' logs if they are wanted."""
    from sweepctl.cli.log_views import print_logs
    from sweepctl.jobs.cluster_sweep import ClusterSweep
    from sweepctl.sweeps.log_lines import LogOptions

    sweep = ClusterSweep(cluster, done.name, cluster.namespace, output.say)
    if logs:
        print_logs(sweep.follow(LogOptions()), LogOptions())
    end_with(*sweep.wait(None), output.answer if form.is_for_people else output.say)


def _ask_to_delete(plan: DeletePlan, sweep: ClusterSweep) -> None:
    if not sys.stdin.isatty():
        raise UsageError("delete asks, and there is no terminal to answer", "say --yes")
    output.say(f"in namespace '{sweep.namespace}' of context '{sweep.cluster.context}':")
    for kind, own in plan.deleted:
        output.say(f"  delete {kind.lower()}/{own}")
    for kind, own, why in plan.kept:
        output.say(f"  keep   {kind.lower()}/{own} ({why})")
    if not typer.confirm("delete them?", err=True):
        raise SweepctlError("nothing was deleted")


def _delete(
    plan: DeletePlan, sweep: ClusterSweep, dry_run: DryRun, form: Form
) -> list[tuple[str, str]]:
    """Take away what was planned, or only say so; give what went."""
    from sweepctl.jobs import change

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
        change.delete(sweep.cluster, plan, dry_run=is_dry, on_deleted=deleted, say=output.say)
    return done


def _print_deleted(done: list[tuple[str, str]], plan: DeletePlan, form: Form) -> None:
    if form.is_data:
        output.data([{"kind": kind, "name": own, "result": "deleted"} for kind, own in done], form)
    elif form is Form.NAME:
        print_lines(f"{kind.lower()}/{own}" for kind, own in done)
    for kind, own, why in plan.kept:
        output.say(f"kept {kind.lower()}/{own} ({why})")
    if plan.unseen:
        output.say(f"not looked for, since you may not list them: {', '.join(plan.unseen)}")


def _check_printer(form: Form) -> Callable[[Check], None]:
    """Give what prints each check as it is made; only for people."""
    from sweepctl.cli import job_views

    console = output.console()

    def show(check: Check) -> None:
        if form.is_for_people:
            console.print(job_views.check_text(check))

    return show


def _print_checks(checks: Sequence[Check], form: Form) -> None:
    from sweepctl.cli import job_views

    output.data([job_views.check_data(check) for check in checks], form)
