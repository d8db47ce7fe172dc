"""Creating a sweep, once, and keeping its id for the commands that follow.

`init` writes the id of each project's sweep into sweep_ids.json, and `agent` finds it there, as
WBC-AGILE's scripts do.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweepctl.sweeps.api import WandbApi, dashboard_url
from sweepctl.sweeps.names import SweepName, entity_of, parse_sweep_name
from sweepctl.sweeps.place import Place, open_api, server_of, want_login
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.search_seed import seed_in
from sweepctl_pod.wandb.client import SweepInfo

if TYPE_CHECKING:
    from sweepctl.sweepfile.load import SweepSpec


def create_sweep(api: WandbApi, spec: SweepSpec, entity: str | None, project: str) -> SweepInfo:
    """Create the sweep of a file, once, whatever answers are lost on the way."""
    from sweepctl.sweepfile.load import config_text  # only here: it reads sweep files

    return api.create_sweep(
        entity_of(spec, entity) or api.default_entity(),
        project,
        spec.to_wandb_config(),
        config_text,
    )


def tell_seed(spec: SweepSpec, sweep: SweepInfo, say: Callable[[str], None]) -> None:
    """Tell the seed, its own or by chance, that a server took for a sweep whose file names none."""
    seed, described = seed_in(sweep.description), spec.to_wandb_config().get("description")
    if seed is not None and seed_in(str(described or "")) is None:
        say(f"seed {seed}: --seed {seed} repeats the search")


@dataclass(frozen=True, slots=True)
class NewSweep:
    """A sweep that `init` created: its name, its page if that stays, the command that runs it."""

    name: str
    page: str | None
    next_command: str


def init_sweep(
    spec: SweepSpec,
    place: Place,
    entity: str | None,
    project: str,
    sweep_ids: Path,
    say: Callable[[str], None],
) -> NewSweep:
    """Create the sweep of a file and write its id into sweep_ids.json."""
    check_sweep_ids(sweep_ids)
    wanted = SweepName(entity, project, None)
    want_login(place, wanted)
    server = server_of(place, wanted)
    with open_api(place, wanted, say, makes=True) as api:
        sweep = create_sweep(api, spec, entity, project)
    tell_seed(spec, sweep, say)
    name = sweep.full_name
    if server is None:
        data = ["--data", str(place.data)] if place.data else []
        command = by_name = ["sweepctl", "local", spec.argument, "--sweep", name, *data]
    else:
        named = ["--server", place.server] if place.server else []
        command = ["sweepctl", "agent", "--project-name", project, "--agent-count", "1", *named]
        by_name = ["sweepctl", "agent", "--sweep", name, *named]
    try:
        remember_sweep(sweep_ids, project, sweep.id)
    except OSError as error:
        raise SweepctlError(
            f"the sweep {name} is created, but {sweep_ids} cannot be written: {error.strerror}",
            f"name it instead: {shlex.join(by_name)}",
        ) from error
    page = dashboard_url(server, sweep) if server is not None else None
    return NewSweep(name, page, shlex.join(command))


def agent_sweep_name(
    sweep: str | None, project: str | None, entity: str | None, sweep_ids: Path
) -> SweepName:
    """Give the sweep that `agent` is to work for: the one named, else the project's own."""
    if sweep is not None:
        name = parse_sweep_name(sweep)
        return SweepName(name.entity or entity, name.project or project, name.id)
    if project is None:
        raise UsageError("which sweep?", "name it with --project-name P or --sweep ENTITY/P/ID")
    return SweepName(entity, project, remembered_sweep(sweep_ids, project))


def remembered_sweep(path: Path, project: str) -> str:
    """Give the id that `init` wrote for this project."""
    if not path.exists():
        raise UsageError(
            f"no {path}",
            f"create the sweep first: sweepctl init sweep.yaml --project-name {project}",
        )
    ids = _read_sweep_ids(path)
    if project not in ids:
        known = ", ".join(sorted(ids)) or "none"
        raise UsageError(
            f"{path} knows no project '{project}' (it knows: {known})",
            f"create the sweep first: sweepctl init sweep.yaml --project-name {project}",
        )
    return ids[project]


def remember_sweep(path: Path, project: str, sweep_id: str) -> None:
    """Write the project's sweep id into sweep_ids.json, keeping the others."""
    ids = _read_sweep_ids(path) if path.exists() else {}
    ids[project] = sweep_id
    written = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        written.write_text(json.dumps(ids, indent=4) + "\n")
        written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise


def check_sweep_ids(path: Path) -> None:
    """Complain about an unusable sweep_ids.json before anything is created."""
    if path.exists():
        _read_sweep_ids(path)
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}", "choose another file with --sweep-ids")


def _read_sweep_ids(path: Path) -> dict[str, str]:
    try:
        ids = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {path}: {error}", "move it away and run init again"
        ) from error
    if not isinstance(ids, dict) or not all(
        isinstance(value, str) and value for value in ids.values()
    ):
        raise UsageError(f"{path} is not a map of project names to sweep ids")
    return ids
