"""The options that the cluster's verbs share: the same letter means the same everywhere.

Spelt for typer, with the small words of answers that go with them.
"""

from __future__ import annotations

import enum
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sweepctl.cli import output
from sweepctl.cli.output import Form
from sweepctl_pod.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sweepctl.cli.screen import Room

_WATCH_EVERY_S = 2.0


class DryRun(str, enum.Enum):
    """Where a change is only tried: nowhere, here, or at the API server."""

    NONE = "none"
    CLIENT = "client"
    SERVER = "server"


def complete_names(incomplete: str) -> list[str]:
    """Give the names that a word may become, for the shell."""
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
SweepFile = Annotated[str, typer.Argument(metavar="FILE", help="The sweep file; - reads stdin.")]
Namespace = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("-n", "--namespace", help="The namespace; default: the context's."),
]


def _give_tasks(entries: list[str] | None) -> list[str] | None:
    """Check what registers the tasks, and hand it to the agents in their environment."""
    from sweepctl_pod.trainer.tasks import SETTING, TasksError, find_tasks

    if entries:
        try:
            find_tasks(entries)
        except TasksError as error:
            raise UsageError(error.message, error.hint) from None
        os.environ[SETTING] = ":".join(entries)
    return entries


TasksOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--tasks",
        metavar="MODULE|FOLDER",
        callback=_give_tasks,
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
    typer.Option("--data", metavar="DIR", help="The embedded server's data folder."),
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


def dry_text(dry_run: DryRun) -> str:
    """Give what a line of an answer ends with when it was only tried."""
    return {DryRun.NONE: "", DryRun.CLIENT: " (dry run)", DryRun.SERVER: " (server dry run)"}[
        dry_run
    ]


def is_coloured() -> bool:
    """Say whether stdout takes colours."""
    return not output.console().no_color and output.console().is_terminal


@dataclass(frozen=True, slots=True)
class Picture:
    """What a sweep is at one moment, ready to be shown in any form, in any room or all of it."""

    view: Callable[[Room | None], RenderableType]
    data: Callable[[], Any]
    name: str | None
    form: Form
    is_last: bool

    def print(self) -> None:
        """Print it in its form."""
        if self.form.is_data:
            output.data(self.data(), self.form)
        elif self.form is Form.NAME:
            print_lines(filter(None, [self.name]))
        else:
            output.console().print(self.view(None))


def show_pictures(pictures: Iterator[Picture], watch: bool) -> None:
    """Print a picture, or with -w one after the other until the sweep has ended.

    On a terminal each takes the place of the one before it.
    """
    from sweepctl.cli.screen import Screen, is_drawable

    first = next(pictures)
    if not watch:
        first.print()
        return
    if not is_drawable(sys.stdout) or not first.form.is_for_people:
        for picture in chain([first], pictures):
            if first.form is Form.YAML:
                output.answer("---")
            picture.print()
            sys.stdout.flush()
            if picture.is_last:
                return
            time.sleep(_WATCH_EVERY_S)
        return
    with Screen() as screen:
        for picture in chain([first], pictures):
            screen.draw(picture.view)
            if picture.is_last:
                return
            screen.rest(_WATCH_EVERY_S)
