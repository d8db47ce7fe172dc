"""The verbs of this machine: agent, local, server, open. Parse, one call, one print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sweepctl.cli import output
from sweepctl.cli.options import (
    AllowedHosts,
    Context,
    Data,
    Entity,
    GrammarOption,
    Keyless,
    MaxInitialFailures,
    NameArgument,
    Namespace,
    Output,
    PreflightGpu,
    Project,
    SearchEngine,
    Seed,
    Server,
    SweepFile,
    TasksOption,
    is_for_another_verb,
    load_spec,
)
from sweepctl.cli.output import Form

if TYPE_CHECKING:
    from sweepctl.sweeps.page import Page


def agent(
    project: Project = None,
    count: Annotated[
        int,
        typer.Option("--agent-count", metavar="N", min=1, help="How many runs to take, in turn."),
    ] = 1,
    sweep: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--sweep", help="The sweep; by default the one that init wrote down."),
    ] = None,
    entity: Entity = None,
    server: Server = None,
    grammar: GrammarOption = "auto",
    sweep_ids: Annotated[
        Path, typer.Option("--sweep-ids", help="Where init wrote the sweep's id.")
    ] = Path("sweep_ids.json"),
    max_initial_failures: MaxInitialFailures = None,
    tasks: TasksOption = None,
) -> None:
    """Take runs from a sweep and train them in turn on this machine.

    Exit code 3 when every run that it took has failed.
    """
    from sweepctl.local.agent import run_agent
    from sweepctl.sweeps.create import agent_sweep_name

    code = run_agent(
        agent_sweep_name(sweep, project, entity, sweep_ids),
        server=server,
        count=count,
        grammar=grammar,
        max_initial_failures=max_initial_failures,
        tasks=tasks or (),
        say=output.say,
    )
    raise typer.Exit(code)


def local(
    file: SweepFile,
    agents: Annotated[
        int, typer.Option("--agents", metavar="N", min=1, max=256, help="How many agents.")
    ] = 1,
    project: Project = None,
    data: Data = None,
    sweep: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--sweep", help="Go on with this sweep instead of creating one."),
    ] = None,
    grammar: GrammarOption = "auto",
    gpu: Annotated[
        PreflightGpu,
        typer.Option("--preflight-gpu", help="auto: the agents want a working GPU; off."),
    ] = PreflightGpu.OFF,
    gpus: Annotated[
        str,
        typer.Option(
            "--gpus", help="The GPUs that the agents share out: auto, none, or 0,1 (or UUIDs)."
        ),
    ] = "auto",
    gpus_per_agent: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--gpus-per-agent", metavar="N", min=1, help="GPUs of each agent."),
    ] = None,
    max_initial_failures: MaxInitialFailures = None,
    tasks: TasksOption = None,
    seed: Seed = None,
    search_engine: SearchEngine = None,
    keyless: Keyless = False,
) -> None:
    """Run a sweep on this machine: embedded server and N agents. Ends when it is done.

    Exit code 0 when every run finished, 3 when some or all failed, 1 when the agents could not go
    on and the sweep has work left: the codes of wait.
    """
    from sweepctl.cli.views import LocalView
    from sweepctl.local.supervisor import LocalPlan, ServerWish, run_local
    from sweepctl.sweeps.gpus import read_wish

    spec = load_spec(file, seed)
    plan = LocalPlan(
        agents=agents,
        project=project,
        data=data,
        sweep=sweep,
        grammar=grammar,
        gpu=gpu.value,
        max_initial_failures=max_initial_failures,
        gpus=read_wish(gpus, gpus_per_agent),
        tasks=tasks or (),
        server=ServerWish(search_engine, keyless),
    )
    with LocalView() as view:
        raise typer.Exit(run_local(spec, plan, view))


def server(
    invocation: typer.Context,
    data: Data = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen; port 0 is any.")
    ] = "127.0.0.1:8080",
    agent_timeout: Annotated[
        float,
        typer.Option(
            "--agent-timeout",
            metavar="S",
            min=1,
            help="Seconds of silence until runs are given back.",
        ),
    ] = 60.0,
    api_keys: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--api-keys", metavar="FILE", help="A file of further keys, one a line."),
    ] = None,
    allowed_hosts: AllowedHosts = None,
    seed: Seed = None,
    search_engine: SearchEngine = None,
    keyless: Keyless = False,
    metrics_keys: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--metrics-keys", metavar="FILE", help="A file of keys that open /metrics alone."
        ),
    ] = None,
    open_metrics: Annotated[
        bool, typer.Option("--open-metrics", help="Ask for no key at /metrics.")
    ] = False,
) -> None:
    """Run the embedded W&B-compatible server by itself.

    It asks for the key of its data folder, which other verbs of yours find by themselves.
    """
    from sweepctl.local.serve import run_server

    if is_for_another_verb(invocation):
        return
    run_server(
        data,
        listen,
        agent_timeout_s=agent_timeout,
        is_keyless=keyless,
        api_keys=api_keys,
        allowed_hosts=allowed_hosts or (),
        search_engine=search_engine,
        seed=seed,
        metrics_keys=metrics_keys,
        are_metrics_open=open_metrics,
        say=output.say,
    )


def open_(
    sweep: NameArgument = None,
    namespace: Namespace = None,
    context: Context = None,
    server: Server = None,
    data: Data = None,
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Where to serve a data folder's pages; port 0 is any.",
        ),
    ] = "127.0.0.1:0",
    allowed_hosts: AllowedHosts = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address and open no browser.")
    ] = False,
    form: Output = Form.TABLE,
) -> None:
    """Print the address of a sweep's page and open it in a browser where there is a display.

    The address logs in who opens it first, within 60 s.

    For a sweep of this machine a server of its data folder runs until Ctrl-C, unless there is one;
    the server inside a cluster is reached through a port-forward until Ctrl-C.
    """
    from sweepctl.jobs import targets
    from sweepctl.sweeps.page import browse, stay
    from sweepctl.sweeps.place import Place

    place = Place(namespace, context, server, data)
    handle = targets.resolve(sweep, place, output.say)
    with handle.page(listen, allowed_hosts or ()) as page:
        _print_page(page, form)
        if not no_browser:
            browse(page)
        if page.await_end is not None:
            output.say("press Ctrl-C to end")
            stay(page)


def _print_page(page: Page, form: Form) -> None:
    if form.is_data:
        output.data({"sweep": page.sweep, "url": page.address}, form)
    else:
        output.answer(f"sweep/{page.sweep}" if form is Form.NAME else page.address)
    sys.stdout.flush()
    for note in page.notes:
        output.say(note)
