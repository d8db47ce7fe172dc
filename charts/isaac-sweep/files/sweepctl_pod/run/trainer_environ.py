"""The environment of a run's trainer: the agent's own, and whose run it trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.wandb.client import ATTEMPT_HEADER, Connection


def trainer_environ(
    environ: Mapping[str, str],
    connection: Connection,
    sweep: AssignedSweep,
    run: AssignedRun,
    *,
    work: Path,
    folder: Path,
) -> dict[str, str]:
    """Give the trainer's environment: ours, and the variables that name the run to W&B's SDK.

    `folder` is the run's own within `work`.
    """
    environ = dict(environ)
    environ.pop("WANDB_SERVICE", None)  # another process's wandb-core
    # A training that begins anew does not resume its run: W&B would drop the steps that it had, and
    # rsl_rl's `wandb.config.update` fails on the configuration that an earlier attempt stored.
    environ.pop("WANDB_RESUME", None)
    environ.update(
        WANDB_RUN_ID=run.id,
        WANDB_SWEEP_ID=sweep.id,
        WANDB_SWEEP_PARAM_PATH=str(folder / "config.yaml"),
        WANDB_PROJECT=sweep.project,
        WANDB_ENTITY=sweep.entity,
        WANDB_BASE_URL=connection.base_url,
        WANDB_DIR=str(work),
        PYTHONUNBUFFERED="1",
    )
    if connection.api_key:
        environ["WANDB_API_KEY"] = connection.api_key
    if run.attempt is not None:
        # The embedded server knows whose the run is. W&B's client follows no TensorBoard file whose
        # name has another host than its own setting.
        environ.pop("WANDB_HOST", None)
        environ["WANDB_X_EXTRA_HTTP_HEADERS"] = _with_header(
            environ.get("WANDB_X_EXTRA_HTTP_HEADERS"), ATTEMPT_HEADER, str(run.attempt)
        )
    # getpass.getuser, which torch calls, fails for a uid without a name; so does GitPython, which
    # rsl_rl imports, without git.
    environ.setdefault("USER", "sweepctl")
    environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    return environ


def _with_header(existing: str | None, name: str, value: str) -> str:
    try:
        headers = json.loads(existing or "{}")
    except ValueError:
        headers = {}
    return json.dumps({**(headers if isinstance(headers, dict) else {}), name: value})
