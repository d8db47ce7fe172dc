"""The options that verbs share: the same letter means the same everywhere.

Spelt for typer, with how their values are read, and the short answers that several verbs print.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sweepctl.cli import output
from sweepctl.cli.output import Form
from sweepctl.search.engine_name import EngineName
from sweepctl_pod.errors import ExitCode, SweepctlError, UsageError

if TYPE_CHECKING:
    from sweepctl.sweepfile.load import SweepSpec
    from sweepctl.sweeps.handle import Change
    from sweepctl.values.settings import Values
    from sweepctl_pod.overrides import Grammar


class DryRun(str, enum.Enum):
    """Where a change is only tried: nowhere, here, or at the API server."""

    NONE = "none"
    CLIENT = "client"
    SERVER = "server"


class PreflightGpu(str, enum.Enum):
    """Whether an agent wants a working GPU before it takes a run."""

    AUTO = "auto"
    OFF = "off"


def complete_names(incomplete: str) -> list[str]:
    """Complete a name, for the shell."""
    from sweepctl.jobs.targets import complete_names

    return complete_names(incomplete)


# typer reads annotations on Python 3.10, so optional ones are spelt Optional.
NameArgument = Annotated[
    Optional[str],  # noqa: UP045
    typer.Argument(
        metavar="[NAME]",
        help="The submitted sweep, or ENTITY/PROJECT/ID of a server's.",
        autocompletion=complete_names,
    ),
]
SubmittedName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The submitted sweep.", autocompletion=complete_names),
]
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


def _check_grammar(text: str) -> str:
    read_grammar(text)
    return text


GrammarOption = Annotated[
    str,
    typer.Option(
        "--grammar",
        callback=_check_grammar,
        help="How overrides are written: auto, literal (Isaac Lab 3) or hydra (2.x).",
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
SweepFile = Annotated[str, typer.Argument(metavar="FILE", help="The sweep file; - reads stdin.")]
Namespace = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("-n", "--namespace", help="The namespace; default: the context's."),
]


def _check_tasks(entries: list[str] | None) -> list[str] | None:
    """Check what registers the tasks; how it reaches the agents is theirs (`tasks_environ`)."""
    from sweepctl_pod.trainer.tasks import TasksError, find_tasks

    if entries:
        try:
            find_tasks(entries)
        except TasksError as error:
            raise UsageError(error.message, error.hint) from None
    return entries


TasksOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--tasks",
        metavar="MODULE|FOLDER",
        callback=_check_tasks,
        help="What registers your tasks, or your project's folder; may be repeated.",
    ),
]
Context = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--context", help="The context of the kubeconfig; default: the current one."),
]
Server = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--server", metavar="URL", help="The W&B or sweepctl server to talk to."),
]
Data = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--data", metavar="DIR", file_okay=False, help="The embedded server's data folder."
    ),
]
Output = Annotated[Form, typer.Option("-o", "--output", help="Form of the answer.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRunOption = Annotated[
    DryRun, typer.Option("--dry-run", help="Change nothing: try it here or at the API server.")
]
Files = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option(
        *("-f", "--values"),
        metavar="FILE",
        envvar="SWEEPCTL_VALUES",
        help="A values file; may be repeated.",
    ),
]
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, as in helm; may be repeated."),
]
Agents = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--agents", metavar="N", help="How many agents, each with its own GPUs."),
]
NameOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--name", help="The name; default: the sweep's own, or its folder's."),
]
Image = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--image", help="The trainer's image."),
]
Gpus = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--gpus-per-agent", metavar="N", help="GPUs of each agent."),
]
SweepOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--sweep", metavar="ENTITY/PROJECT/ID", help="A sweep that exists."),
]
ServerOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--server", metavar="URL", help="The W&B server that the pods talk to."),
]
WithServer = Annotated[
    bool, typer.Option("--with-server", help="Run the embedded server in the cluster as well.")
]
Timeout = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--timeout", metavar="TIME", help="Give up after so long: 30m, 2h."),
]

SearchEngine = Annotated[
    Optional[EngineName],  # noqa: UP045
    typer.Option("--search-engine", help="What new sweeps search bayes by (optuna)."),
]
Seed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--seed", metavar="N", min=0, max=2**63 - 1, help="Repeat a search: the seed of its runs."
    ),
]
Keyless = Annotated[
    bool,
    typer.Option(
        "--keyless",
        help="Ask for no key until the runs have ended that an earlier version has under way.",
    ),
]
AllowedHosts = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--allowed-host",
        metavar="NAME",
        help="A further name that a server on loopback answers to; may be repeated.",
    ),
]


def print_lines(lines: Iterable[str]) -> bool:
    """Print one answer a line, many at once; say if there were any."""
    left, is_any = iter(lines), False
    while block := list(islice(left, 10_000)):
        output.answer("\n".join(block))
        is_any = True
    return is_any


def is_for_another_verb(invocation: typer.Context) -> bool:
    """Say whether a verb was named below this one; options between the two would be lost."""
    below = invocation.invoked_subcommand
    if below is None:
        return False
    for name in invocation.params:
        source = invocation.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} stands before {below}", f"write {option} after {below}")
    return True


def dry_text(dry_run: DryRun) -> str:
    """Give the end of an answer's line for a change that was only tried."""
    return {DryRun.NONE: "", DryRun.CLIENT: " (dry run)", DryRun.SERVER: " (server dry run)"}[
        dry_run
    ]


def is_coloured() -> bool:
    """Say whether stdout takes colours."""
    return not output.console().no_color and output.console().is_terminal


def load_spec(file: str, seed: int | None = None) -> SweepSpec:
    """Read a sweep file; its warnings go to stderr. A `seed` replaces the one that it names."""
    from sweepctl.sweepfile.load import load_sweep

    spec = load_sweep(file)
    for problem in spec.warnings:
        print(problem.text(), file=sys.stderr)
    return spec if seed is None else spec.seeded(seed)


def read_grammar(text: str) -> Grammar | None:
    """Read --grammar; None is auto."""
    from sweepctl_pod.overrides import Grammar

    if text == "auto":
        return None
    try:
        return Grammar(text)
    except ValueError:
        raise UsageError(
            f"--grammar {text}: no such grammar", "write auto, literal or hydra"
        ) from None


def read_settings(files: list[Path] | None, sets: list[str] | None, **flags: object) -> Values:
    """Read the settings of a Job: files, --set, then flags by their names, as `with_server`."""
    from sweepctl.values.settings import flag_settings, load_values

    given = {f"--{name.replace('_', '-')}": value for name, value in flags.items()}
    paths = [str(file) for file in files or ()]
    return load_values(paths, sets or (), overrides=flag_settings(given))


def print_change(done: Change, dry_run: DryRun, form: Form) -> None:
    """Print what a verb did to one object."""
    if form.is_data:
        answer = {"object": done.object, "result": done.verb, "dry_run": dry_run.value}
        output.data({**answer, "notes": list(done.notes)}, form)
        return
    verb = "" if form is Form.NAME else f" {done.verb}{dry_text(dry_run)}"
    output.answer(f"{done.object}{verb}")
    for note in done.notes:
        output.say(f"note: {note}")


def end_with(code: ExitCode, words: str, tell: Callable[[str], None] = output.answer) -> None:
    """Tell how a sweep ended, and end with its exit code."""
    if code is ExitCode.FAILED:
        raise SweepctlError(words)
    tell(words)
    if code is not ExitCode.DONE:
        raise typer.Exit(code)
