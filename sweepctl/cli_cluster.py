"""The verbs of sweeps in a cluster, for the command line: which there are, with an example each."""

from __future__ import annotations

import typer

from sweepctl import cli_live, cli_submit


def register(app: typer.Typer) -> None:
    """Add the cluster's verbs to the command line."""
    for command, example in (
        (cli_submit.submit, "submit sweep.yaml --agents 8 -n robots --wait"),
        (cli_submit.render, "render sweep.yaml --agents 8 --set image.tag=3.0.0"),
        (cli_live.list_, "list -n robots -o wide"),
        (cli_live.status, "status toy-legs -w"),
        (cli_live.logs, "logs toy-legs --agent 2 --since 10m"),
        (cli_live.wait, "wait toy-legs --timeout 2h"),
        (cli_live.scale, "scale toy-legs 16"),
        (cli_live.pause, "pause toy-legs"),
        (cli_live.resume, "resume toy-legs"),
        (cli_live.stop, "stop toy-legs"),
        (cli_live.delete, "delete toy-legs --yes"),
        (cli_submit.doctor, "doctor -n robots -f values.yaml"),
    ):
        name = command.__name__.rstrip("_")
        app.command(name, epilog=f"Example: sweepctl {example}")(command)
