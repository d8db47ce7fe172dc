"""Logs a report to W&B, by its client: a run of its own in the sweep's project, with the files.

The run is none of the sweep's, so that no search and no ranking counts it. It is the same run each
time, and says nothing about the machine, the code or the command line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sweepctl.report.content import Report
from sweepctl.sweeps.extras import require_extra
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.wandb.client import Connection, run_url

_PAGE_KEY = "report"
_OF_A_RUN = (
    *("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_NAME", "WANDB_RESUME", "WANDB_RUN_GROUP"),
    *("WANDB_JOB_TYPE", "WANDB_TAGS", "WANDB_NOTES", "WANDB_MODE", "WANDB_SERVICE"),
    *("WANDB_CONFIG_PATHS", "WANDB_SWEEP_PARAM_PATH", "WANDB_FORK_FROM", "WANDB_RESUME_FROM"),
)
"""Variables that make the client go on with a run that this process may be in, or log to nobody."""


def upload(
    report: Report, page: str, files: Mapping[str, bytes], connection: Connection, folder: Path
) -> str:
    """Log the page and the files of a report; give the address of the run that has them.

    `folder` is where the client may write meanwhile.
    """
    require_extra("report", "report --upload", ("wandb",))
    for name in _OF_A_RUN:
        os.environ.pop(name, None)
    os.environ |= {"WANDB_SILENT": "true", "WANDB_DIR": str(folder)}
    import wandb

    entity, project, sweep = report.status.sweep.split("/")
    run_id = f"report-{sweep}"
    settings = wandb.Settings(
        base_url=connection.base_url,
        api_key=connection.api_key,
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        program="sweepctl report",
        host="sweepctl",
    )
    try:
        run = wandb.init(
            entity=entity,
            project=project,
            id=run_id,
            name=f"report of {report.title}"[:120],
            job_type="report",
            resume="allow",
            settings=settings,
        )
        run.log({_PAGE_KEY: wandb.Html(page, inject=False)})
        artifact = wandb.Artifact(f"report-{sweep}", type="report")
        for name, content in files.items():
            with artifact.new_file(name, mode="wb") as file:
                file.write(content)
        run.log_artifact(artifact)
        run.finish()
    except (wandb.Error, ValueError, OSError) as error:
        raise SweepctlError(f"the wandb client: {error}") from None
    return run_url(connection.base_url, entity, project, run_id)
