"""The verbs before a sweep runs in a cluster: submit, render, doctor. Parse, one call, print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweepctl.cli import live_verbs, log_verb, output
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
    ServerOption,
    Sets,
    SweepFile,
    SweepOption,
    WithServer,
    print_lines,
)
from sweepctl.cli.output import Form
from sweepctl_pod.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from sweepctl.sweepfile.load import SweepSpec
    from sweepctl.sweeps.handle import Change
    from sweepctl.values.settings import Values


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
) -> None:
    """Create the sweep and the Job whose agents train it. Twice is the same as once.

    With --wait or --logs: exit code 0 when every run finished, 3 when some or all failed. With
    -o json, yaml or name, how the sweep ended is said on stderr; --logs is for tables only.
    """
    from sweepctl.jobs.existing import SubmitOptions
    from sweepctl.jobs.logs import LogOptions
    from sweepctl.jobs.submit import Submitter, name_of
    from sweepctl.jobs.targets import Target
    from sweepctl.kube.kubeconfig import open_cluster

    is_for_people = form.is_for_people
    if logs and not is_for_people:
        raise UsageError(
            f"--logs and -o {form.value} would both write to stdout",
            "leave one out, or show the logs by sweepctl logs",
        )
    spec = _load(file)
    values = _values(files, sets, agents, image, gpus, sweep, server, with_server)
    chosen = name_of(spec, file, name)
    cluster = open_cluster(context, namespace)
    done = Submitter(
        cluster,
        spec,
        values,
        SubmitOptions(chosen, agents, sweep, create_secret, dry_run.value, force_conflicts),
        namespace=cluster.namespace,
        say=output.say,
        on_change=_print_change if is_for_people else lambda change: None,
    ).run()
    _print_submitted(done, form, dry_run)
    if dry_run is DryRun.NONE and (wait or logs):
        target = Target(cluster, chosen, cluster.namespace)
        if logs:
            log_verb.follow(target, LogOptions(), timestamps=False)
        live_verbs.end_of_wait(target, None, output.answer if is_for_people else output.say)


def render(
    file: SweepFile,
    agents: Agents = None,
    name: NameOption = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="The namespace of the objects.")
    ] = "default",
    files: Files = None,
    sets: Sets = None,
    image: Image = None,
    gpus: Gpus = None,
    sweep: SweepOption = None,
    server: ServerOption = None,
    with_server: WithServer = False,
    form: Output = Form.YAML,
) -> None:
    """Print the objects that submit would make. Asks no cluster and no server."""
    from sweepctl import manifest
    from sweepctl.cli import cluster_views
    from sweepctl.jobs.submit import name_of

    spec = _load(file)
    values = _values(files, sets, agents, image, gpus, sweep, server, with_server)
    plan = manifest.plan_job(values, spec.text, name_of(spec, file, name), namespace)
    objects = manifest.render(plan)
    if form is Form.NAME:
        print_lines(f"{each['kind'].lower()}/{each['metadata']['name']}" for each in objects)
    else:
        output.answer(cluster_views.objects_text(objects, form.value))


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
    from sweepctl.cli import cluster_views
    from sweepctl.jobs.doctor import examine
    from sweepctl.jobs.doctor_checks import Level
    from sweepctl.kube.kubeconfig import open_cluster

    output.check_has_names(form, "a check")
    values = _values(files, sets, None, image, None, None, server, False)
    cluster = open_cluster(context, namespace)
    console = output.console()
    is_table = form.is_for_people
    checks = examine(
        cluster,
        values,
        cluster.namespace,
        probe=probe,
        on_check=lambda check: console.print(cluster_views.check_text(check)) if is_table else None,
    )
    if not is_table:
        output.data([cluster_views.check_data(check) for check in checks], form)
    if any(check.level is Level.MISSING for check in checks):
        raise typer.Exit(ExitCode.FAILED)


def _load(file: str) -> SweepSpec:
    from sweepctl.sweepfile.load import load_sweep

    spec = load_sweep(file)
    for problem in spec.warnings:
        print(problem.text(), file=sys.stderr)
    return spec


def _values(
    files: list[Path] | None,
    sets: list[str] | None,
    agents: int | None,
    image: str | None,
    gpus: int | None,
    sweep: str | None,
    server: str | None,
    with_server: bool,
) -> Values:
    from sweepctl.values.settings import image_settings, load_values

    flags: dict[str, object] = {
        "agents": agents,
        "gpus": gpus,
        "sweepId": sweep,
        "wandb.baseUrl": server,
        "server.enabled": with_server or None,
    }
    overrides = {key: value for key, value in flags.items() if value is not None}
    if image is not None:
        overrides |= image_settings(image)
    return load_values([str(file) for file in files or ()], sets or (), overrides=overrides)


def _print_submitted(done: Any, form: Form, dry_run: DryRun) -> None:
    from sweepctl.cli import cluster_views

    for note in done.notes:
        output.say(f"note: {note}")
    if form.is_data:
        if dry_run is DryRun.CLIENT:
            output.answer(cluster_views.objects_text(done.objects, form.value))
        else:
            output.data(cluster_views.submitted_data(done), form)
    elif form is Form.NAME:
        output.answer(f"job/{done.job}")
    elif dry_run is DryRun.NONE:
        if done.page:
            output.say(f"watch the runs:   {done.page}")
        output.say(f"watch the agents: sweepctl status {done.name} -w -n {done.namespace}")


def _print_change(change: Change) -> None:
    print(f"{change.object} {change.verb}", flush=True)
