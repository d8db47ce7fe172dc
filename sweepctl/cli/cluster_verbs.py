"""The verbs of sweeps in a cluster, for the command line: which there are, with an example each."""

from __future__ import annotations

import typer

from sweepctl.cli import change_verbs, live_verbs, log_verb, report_verb, submit_verbs


def register(app: typer.Typer) -> None:
    """Add the cluster's verbs to the command line."""
    for command, example in (
        (submit_verbs.submit, "submit sweep.yaml --agents 8 -n robots --wait"),
        (submit_verbs.render, "render sweep.yaml --agents 8 --set image.tag=3.0.0"),
        (live_verbs.list_, "list -n robots -o wide"),
        (live_verbs.status, "status toy-legs -w"),
        (log_verb.logs, "logs toy-legs --agent 2 --since 10m"),
        (live_verbs.wait, "wait toy-legs --timeout 2h"),
        (change_verbs.scale, "scale toy-legs 16"),
        (change_verbs.pause, "pause toy-legs"),
        (change_verbs.resume, "resume toy-legs"),
        (change_verbs.stop, "stop toy-legs"),
        (report_verb.report, "report toy-legs --to report"),
        (change_verbs.delete, "delete toy-legs --yes"),
        (submit_verbs.doctor, "doctor -n robots -f values.yaml"),
    ):
        name = command.__name__.rstrip("_")
        app.command(name, epilog=f"Example: sweepctl {example}")(command)
