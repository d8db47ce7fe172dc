"""The command line: the app, its verbs in the order of `--help`, and `main`.

Every decision is made in the rooms below. Imports of those rooms stand in the verbs, so that
`--help` and completion stay quick.
"""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from sweepctl.cli import (
    change_verbs,
    file_verbs,
    job_verbs,
    key_verbs,
    machine_verbs,
    output,
    process,
    read_verbs,
    recovery_verbs,
    server_verbs,
)

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
  SWEEPCTL_BAYES_PYTHON  a Python that has W&B's own search engine
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


_SERVER_EXAMPLE = "server --data ./sweeps --listen 127.0.0.1:8080"

VERBS = (
    (file_verbs.validate, "validate sweep.yaml"),
    (file_verbs.preview, "preview sweep.yaml --count 5 --seed 1"),
    (file_verbs.init, "init sweep.yaml --project-name legs"),
    (machine_verbs.agent, "agent --project-name legs --agent-count 15"),
    (machine_verbs.local, "local examples/toy_legs/sweep.yaml --agents 2"),
    (machine_verbs.server, _SERVER_EXAMPLE),
    (read_verbs.best, "best local/toy-legs/1a2b3c4d --top 3"),
    (machine_verbs.open_, "open local/toy-legs/1a2b3c4d"),
    (job_verbs.submit, "submit sweep.yaml --agents 8 -n robots --wait"),
    (file_verbs.render, "render sweep.yaml --agents 8 --set image.tag=3.0.0"),
    (read_verbs.list_, "list -n robots -o wide"),
    (read_verbs.status, "status toy-legs -w"),
    (read_verbs.logs, "logs toy-legs --agent 2 --since 10m"),
    (read_verbs.wait, "wait toy-legs --timeout 2h"),
    (job_verbs.scale, "scale toy-legs 16"),
    (change_verbs.pause, "pause toy-legs"),
    (change_verbs.resume, "resume toy-legs"),
    (change_verbs.stop, "stop toy-legs"),
    (recovery_verbs.retry, "retry toy-legs --failed"),
    (recovery_verbs.disrupt, "disrupt toy-legs --kind delete --count 3 --dry-run=client"),
    (read_verbs.report, "report toy-legs -o report.html"),
    (job_verbs.delete, "delete toy-legs --yes"),
    (job_verbs.doctor, "doctor -n robots -f values.yaml"),
)
"""The verbs in the order of --help, each with its example."""

for _verb, _example in VERBS:
    app.command(_verb.__name__.rstrip("_"), epilog=f"Example: sweepctl {_example}")(_verb)

SERVER_VERBS = (
    (server_verbs.backup, "backup sweeps.tar --data ./sweeps"),
    (server_verbs.prune, "prune --data ./sweeps --older-than 30d --dry-run"),
)
"""What `sweepctl server` does besides serving."""

_server = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
_server.callback()(machine_verbs.server)
for _below, _example in SERVER_VERBS:
    _server.command(epilog=f"Example: sweepctl server {_example}")(_below)
KEY_VERBS = (
    (key_verbs.add, "add alice --data ./sweeps"),
    (key_verbs.list_, "list --data ./sweeps"),
    (key_verbs.revoke, "revoke alice --data ./sweeps"),
)
"""What `sweepctl server key` does."""

_key = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Further keys of the server, by name."
)
for _of_keys, _example in KEY_VERBS:
    _name = _of_keys.__name__.rstrip("_")
    _key.command(_name, epilog=f"Example: sweepctl server key {_example}")(_of_keys)
_server.add_typer(_key, name="key")
app.add_typer(_server, name="server", epilog=f"Example: sweepctl {_SERVER_EXAMPLE}")


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    process.run(app)
