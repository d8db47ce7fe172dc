"""The command line: parse, one call, print. Every decision is made in the rooms below.

Imports of those rooms stand in the commands, so that `--help` and completion stay quick.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer

from sweepctl.cli import cluster_verbs, open_verb, output, process
from sweepctl.cli.options import (
    AllowedHosts,
    Context,
    Data,
    Namespace,
    Output,
    Server,
    SweepFile,
    TasksOption,
    complete_names,
    print_lines,
)
from sweepctl.cli.output import Form
from sweepctl_pod.errors import ExitCode, Problem, UsageError, error_count

if TYPE_CHECKING:
    from sweepctl.sweepfile.load import SweepSpec

_EPILOG = """\
Which sweep a verb means: -n and --context name the cluster, --server and --data a server. Without
them a name with a / is a server's sweep, another name one of the cluster for who has a kubeconfig.
No name is the newest sweep of W&B or of this machine; for who has neither, the cluster's only one.

With -o json or yaml, stdout is the answer alone, and an error is one line of JSON, the last of
stderr.

\b
Environment:
  SWEEPCTL_DATA          the data folder of this machine, for --data
  SWEEPCTL_VALUES        values files of submit, render and doctor, for -f
  SWEEPCTL_PATIENCE_S    seconds to wait for a server that is away (60)
  SWEEPCTL_BAYES_PYTHON  a Python that has W&B's search engine, for bayes
  WANDB_BASE_URL, WANDB_API_KEY, WANDB_ENTITY, WANDB_PROJECT, KUBECONFIG
                         as for wandb and kubectl
  NO_COLOR               anything: no colours
"""

app = typer.Typer(
    name="sweepctl",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run Weights & Biases sweeps of NVIDIA Isaac Lab training.",
    epilog=_EPILOG,
)


class Gpu(str, enum.Enum):
    """Whether an agent wants a working GPU before it takes a run."""

    AUTO = "auto"
    OFF = "off"


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib import metadata

        output.answer(f"sweepctl {metadata.version('sweepctl')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Print the traceback of an unexpected error; for any verb."),
    ] = False,
) -> None:
    """Run Weights & Biases sweeps of NVIDIA Isaac Lab training."""


SweepArgument = Annotated[
    Optional[str],  # noqa: UP045 - typer reads the annotation on Python 3.10
    typer.Argument(
        metavar="[SWEEP]",
        help="ENTITY/PROJECT/ID, PROJECT/ID, ID, the sweep's page, or the name of a submitted one.",
        autocompletion=complete_names,
    ),
]
Project = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--project-name", help="The W&B project."),
]
Entity = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--entity-name", help="The W&B entity (user or team)."),
]
GrammarOption = Annotated[
    str,
    typer.Option(
        "--grammar", help="How overrides are written: auto, literal (Isaac Lab 3) or hydra (2.x)."
    ),
]
MaxInitialFailures = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--max-initial-failures",
        metavar="N",
        help="An agent gives up when its first N runs all failed within 60 s (3); 0: never.",
    ),
]


@app.command(epilog="Example: sweepctl validate sweep.yaml")
def validate(file: SweepFile, form: Output = Form.TABLE) -> None:
    """Check a sweep file and report every problem at once, on stdout.

    Exit code 0 when the file is valid (warnings allowed), 2 when it is not.
    """
    from sweepctl.sweepfile.load import STDIN, load_sweep
    from sweepctl_pod.errors import SpecError

    output.check_has_names(form, "a problem")
    problems: Sequence[Problem]
    try:
        spec = load_sweep(file)
        problems, verdict = spec.warnings, _validity(len(spec.scaled))
    except SpecError as error:
        problems, verdict = error.problems, None
    if form.is_data:
        listed = [problem.as_dict() for problem in problems]
        output.data({"valid": verdict is not None, "problems": listed}, form)
    else:
        print_lines(problem.text() for problem in problems)
        where = STDIN if file == "-" else file
        output.answer(f"{where}: {verdict or error_count(problems)}")
    if verdict is None:
        raise typer.Exit(ExitCode.INVALID)


def _validity(scaled: int) -> str:
    if not scaled:
        return "valid"
    return f"valid ({scaled} scaled {'dictionary' if scaled == 1 else 'dictionaries'})"


@app.command(epilog="Example: sweepctl preview sweep.yaml --count 5 --seed 1")
def preview(
    file: SweepFile,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many runs.")] = 3,
    grammar: GrammarOption = "auto",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the sampling.")] = 0,
    expand_env: Annotated[
        bool,
        typer.Option("--expand-env", help="Put the values of this shell in place of ${envvar:X}."),
    ] = False,
    form: Output = Form.TABLE,
) -> None:
    """Print the exact trainer command lines of a few sampled runs. Nothing is created.

    What there is to know about them follows on stderr.
    """
    from sweepctl.sweepfile.preview import preview_runs

    output.check_has_names(form, "a run that is not there")
    spec = _load(file)
    runs = preview_runs(
        spec,
        count=count,
        grammar=_grammar(grammar),
        seed=seed,
        environ=os.environ,
        expand_env=expand_env,
    )
    if not form.is_data:
        for run in runs:
            output.answer(run.shell_command())
        for note in dict.fromkeys(note for run in runs for note in run.notes):
            output.say(f"note: {note}")
    else:
        output.data([run.as_dict() for run in runs], form)


@app.command(epilog="Example: sweepctl init sweep.yaml --project-name legs")
def init(
    file: SweepFile,
    project: Project = None,
    entity: Entity = None,
    server: Server = None,
    data: Data = None,
    sweep_ids: Annotated[
        Path, typer.Option("--sweep-ids", help="Where the sweep's id is written.")
    ] = Path("sweep_ids.json"),
    form: Output = Form.TABLE,
) -> None:
    """Create the sweep at W&B or a sweepctl server. Run it then with `sweepctl agent`."""
    from sweepctl.sweeps.create import init_sweep
    from sweepctl.sweeps.names import project_of
    from sweepctl.sweeps.place import Place

    spec = _load(file)
    project = project_of(spec, project)
    place = Place(server=server, data=data)
    new = init_sweep(spec, place, entity, project, sweep_ids, output.say)
    if form.is_data:
        output.data({"sweep": new.name, "url": new.page}, form)
        return
    output.answer(f"sweep/{new.name}" + ("" if form is Form.NAME else " created"))
    if new.page:
        output.say(f"watch it: {new.page}")
    output.say(f"run it:   {new.next_command}")


@app.command(epilog="Example: sweepctl agent --project-name legs --agent-count 15")
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

    _grammar(grammar)
    raise typer.Exit(
        run_agent(
            agent_sweep_name(sweep, project, entity, sweep_ids),
            server=server,
            count=count,
            grammar=grammar,
            max_initial_failures=max_initial_failures,
            say=output.say,
        )
    )


@app.command(epilog="Example: sweepctl local examples/toy_legs/sweep.yaml --agents 2")
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
        Gpu, typer.Option("--preflight-gpu", help="auto: the agents want a working GPU; off.")
    ] = Gpu.OFF,
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
) -> None:
    """Run a sweep on this machine: embedded server and N agents. Ends when it is done.

    Exit code 0 when every run finished, 3 when some or all failed, 1 when the agents could not go
    on and the sweep has work left: the codes of wait.
    """
    from sweepctl.cli.views import LocalView
    from sweepctl.local.supervisor import LocalPlan, run_local
    from sweepctl.sweeps.gpus import read_wish

    _grammar(grammar)
    spec = _load(file)
    plan = LocalPlan(
        agents=agents,
        project=project,
        data=data,
        sweep=sweep,
        grammar=grammar,
        gpu=gpu.value,
        max_initial_failures=max_initial_failures,
        gpus=read_wish(gpus, gpus_per_agent),
    )
    with LocalView() as view:
        code = run_local(spec, plan, view)
    raise typer.Exit(code)


@app.command(epilog="Example: sweepctl server --data ./sweeps --listen 127.0.0.1:8080")
def server(
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
        typer.Option("--api-keys", metavar="FILE", help="A file of API keys, one a line."),
    ] = None,
    allowed_hosts: AllowedHosts = None,
) -> None:
    """Run the embedded W&B-compatible server by itself."""
    from sweepctl.local.serve import run_server

    run_server(
        data,
        listen,
        agent_timeout_s=agent_timeout,
        api_keys=api_keys,
        allowed_hosts=allowed_hosts or (),
        say=output.say,
    )


@app.command(epilog="Example: sweepctl best local/toy-legs/1a2b3c4d --top 3")
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
    from sweepctl.cli import views
    from sweepctl.jobs import targets
    from sweepctl.sweeps.best import best_runs
    from sweepctl.sweeps.handle import read_status
    from sweepctl.sweeps.place import Place

    place = Place(namespace, context, server, data)
    with targets.open_to_read(sweep, place, output.say) as (api, name):
        seen = read_status(api, name)
        runs = best_runs(
            seen.status,
            seen.config,
            top=top,
            grammar=_grammar(grammar),
            record_of=partial(api.run_record, seen.status.sweep),
            recorded=top if form.is_data else 1,  # whose commands are shown
        )
    if form.is_data:
        output.data(views.best_data(seen.status, runs), form)
    elif form is Form.NAME:
        print_lines(f"run/{ranked.run.id}" for ranked in runs)
    else:
        views.print_best(seen.status, runs)
    if not runs:
        raise typer.Exit(ExitCode.FAILED)


app.command("open", epilog="Example: sweepctl open local/toy-legs/1a2b3c4d")(open_verb.open_)
cluster_verbs.register(app)


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    process.run(app)


def _load(file: str) -> SweepSpec:
    from sweepctl.sweepfile.load import load_sweep

    spec = load_sweep(file)
    for problem in spec.warnings:
        print(problem.text(), file=sys.stderr)
    return spec


def _grammar(text: str):  # type: ignore[no-untyped-def]
    from sweepctl_pod.overrides import Grammar

    if text == "auto":
        return None
    try:
        return Grammar(text)
    except ValueError:
        raise UsageError(
            f"--grammar {text}: no such grammar", "write auto, literal or hydra"
        ) from None
