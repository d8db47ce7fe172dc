"""What people call a sweep, and the names that a new one gets.

A name is ENTITY/PROJECT/ID, PROJECT/ID, ID, or the address of the sweep's page.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweepctl_pod.errors import UsageError
from sweepctl_pod.stored_form import DEFAULT_PROJECT

if TYPE_CHECKING:
    from sweepctl.sweepfile.load import SweepSpec


@dataclass(frozen=True, slots=True)
class SweepName:
    """How a user names a sweep: ENTITY/PROJECT/ID, PROJECT/ID or ID; what is left out is None."""

    entity: str | None
    project: str | None
    id: str | None


def parse_sweep_name(text: str | None) -> SweepName:
    """Read a sweep's name, or the address of its page."""
    if not text:
        return SweepName(None, None, None)
    page = re.match(r"https?://[^/]+/([^/]+)/([^/]+)/sweeps/([^/?#]+)", text)
    parts = list(page.groups()) if page else text.strip("/").split("/")
    if len(parts) > 3 or not all(parts):
        raise UsageError(
            f"'{text}' does not name a sweep", "the form is ENTITY/PROJECT/SWEEP_ID, or its page"
        )
    entity, project, sweep_id = [None] * (3 - len(parts)) + parts
    return SweepName(entity, project, sweep_id)


def project_of(spec: SweepSpec, option: str | None) -> str:
    """Give the project of a new sweep: the option, the file's, WANDB_PROJECT, else a plain name."""
    project = option or spec.project or os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT
    return _fit("project", project)


def entity_of(spec: SweepSpec, option: str | None) -> str | None:
    """Give the entity of a new sweep: the option or the file's; None is the server's default."""
    entity = option or spec.entity
    return entity and _fit("entity", entity)


def _fit(kind: str, name: str) -> str:
    """Give the name if W&B takes it; refuse any other before anything is created."""
    from sweepctl.sweepfile.names import fit_name, unfit_name  # only here: it reads sweep files

    unfit = unfit_name(kind, name)
    if unfit:
        raise UsageError(unfit, f"try {fit_name(name) or 'letters, digits, _ and -'}")
    return name
