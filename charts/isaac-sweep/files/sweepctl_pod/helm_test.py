"""What `helm test` asks of a release: does its API answer, take the key, and have the sweep?

It asks as an agent would and changes nothing. A sweep that nobody has created yet is no failure:
the first agent creates it when it has a node.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.find_sweep import choose, jobs_of, read_sweep_file, sweep_key, sweep_place
from sweepctl_pod.log_lines import PREFIX
from sweepctl_pod.trainer.interpreter import TrainerPython
from sweepctl_pod.wandb.client import ApiError, SweepInfo, WandbClient, connection_from_environ

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long a server may take to start."""


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Check the release that the environment describes; give the exit code."""
    try:
        for line in check_release(environ):
            print(f"{PREFIX}{line}")
    except SweepctlError as error:
        print(f"{PREFIX}{error.line}")
        return int(error.exit_code) or 1
    return 0


def check_release(environ: Mapping[str, str], *, patience_s: float = PATIENCE_S) -> list[str]:
    """Give what is found, line by line; SweepctlError with what is wrong."""
    client = WandbClient(connection_from_environ(environ, Path.home()), timeout_s=10)
    entity = _patiently(client.viewer_entity, patience_s)
    said = [f"{client.connection.base_url} answers and takes the key of {entity}"]
    sweep = _sweep(environ, client, patience_s)
    if sweep is None:
        return [*said, "no sweep yet: the first agent creates it"]
    return [*said, f"sweep {sweep.full_name} is {sweep.state}"]


def _sweep(environ: Mapping[str, str], client: WandbClient, patience_s: float) -> SweepInfo | None:
    named = environ.get("SWEEPCTL_SWEEP")
    if named:
        entity, project, sweep_id = named.split("/")
        return _patiently(lambda: client.sweep(entity, project, sweep_id), patience_s)
    file = Path(environ["SWEEPCTL_SWEEP_FILE"])
    text, config = read_sweep_file(file, TrainerPython(environ).read_yaml)
    key = sweep_key(environ["SWEEPCTL_NAMESPACE"], environ["SWEEPCTL_NAME"], text)
    named_entity, project = sweep_place(
        config, environ.get("WANDB_ENTITY"), environ.get("WANDB_PROJECT")
    )
    entity = named_entity or _patiently(client.viewer_entity, patience_s)
    listed = _patiently(lambda: client.sweeps(entity, project), patience_s)
    found = [sweep for sweep in listed if jobs_of(sweep, key) is not None]
    newest = max(found, key=lambda sweep: sweep.created_at or "", default=None)
    # Its Jobs may have chosen another: of sweeps created at the same moment, only one goes on.
    jobs = sorted(jobs_of(newest, key) or ()) if newest is not None else []
    return choose(found, key, jobs[-1]).sweep if jobs else newest


def _patiently(work: Callable[[], T], patience_s: float) -> T:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return work()
        except ApiError as error:
            if not error.is_transient or time.monotonic() > deadline:
                raise
        time.sleep(1.0)
