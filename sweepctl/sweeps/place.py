"""Creating sweeps and finding them again: the use cases behind `init`, `local` and every SWEEP.

Where a sweep lives is decided here, once: the embedded data of this machine (entity `local`), or
the W&B server that the environment and the options name.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepctl.server import process as embedded
from sweepctl.server.store.database import DATABASE
from sweepctl.sweeps import gpus
from sweepctl.sweeps.api import SweepSource, WandbApi, dashboard_url, read_config
from sweepctl.sweeps.status import SweepStatus, sweep_status, with_gpus
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.stored_form import DEFAULT_PROJECT
from sweepctl_pod.wandb.client import (
    ApiError,
    Connection,
    SweepInfo,
    WandbClient,
    connection_from_environ,
)
from sweepctl_pod.wandb.connection import DEFAULT_BASE_URL, how_to_log_in

if TYPE_CHECKING:
    from sweepctl.sweepfile.load import SweepSpec

SWEEP_IDS = "sweep_ids.json"
"""Where `init` keeps the id of each project's sweep and `agent` finds it, as the ancestor did."""


@dataclass(frozen=True, slots=True)
class SweepName:
    """How a user names a sweep: ENTITY/PROJECT/ID, PROJECT/ID or ID; what is not said is None."""

    entity: str | None
    project: str | None
    id: str | None


@dataclass(frozen=True, slots=True)
class Where:
    """The options that say where a sweep lives."""

    server: str | None
    data: Path | None


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
    """Give a name that W&B takes back; refuse any other before anything is created."""
    from sweepctl.sweepfile.names import fit_name, unfit_name  # only here: it reads sweep files

    unfit = unfit_name(kind, name)
    if unfit:
        raise UsageError(unfit, f"try {fit_name(name) or 'letters, digits, _ and -'}")
    return name


@contextmanager
def open_api(
    where: Where,
    name: SweepName,
    say: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
    *,
    makes: bool = False,
) -> Iterator[WandbApi]:
    """Open the API that keeps the named sweep, or that is to keep a new one if the caller `makes`.

    Embedded data is served for as long as the command needs it.
    """
    server = server_of(where, name, environ)
    if server is not None:
        yield WandbApi(server, on_wait=say)
        return
    data = where.data or embedded.default_data()
    with embedded.reading(data, makes=makes) as connection:
        yield WandbApi(connection, on_wait=say)


@contextmanager
def open_source(
    where: Where,
    name: SweepName,
    say: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
) -> Iterator[SweepSource]:
    """Open what keeps the named sweep, to read it: embedded data is read from the disk.

    Only data of an older version needs a server, which makes a newer one of it.
    """
    server = server_of(where, name, environ)
    if server is not None:
        yield WandbApi(server, on_wait=say)
        return
    from sweepctl.server import reading  # only here: a W&B server is read without them
    from sweepctl.server.store import database  # only here: a W&B server is read without them

    data = where.data or embedded.default_data()
    embedded.check_holds_sweeps(data)
    if database.has_this_format(data):
        yield reading.StoredSweeps(data)
        return
    with embedded.reading(data) as connection:
        yield WandbApi(connection, on_wait=say)


def server_of(
    where: Where, name: SweepName, environ: Mapping[str, str] = os.environ
) -> Connection | None:
    """Give the server that is meant; None means this machine's embedded data.

    `--server` names any server, `--data` embedded data. Else it is the wandb client's server, but
    for the entity `local`, which is embedded data unless that server is a sweepctl server itself.
    Who has no W&B login at all has embedded data only.
    """
    if where.server:
        return _named_server(where.server, environ)
    if where.data:
        return None
    server = connection_from_environ(environ, Path.home())
    if server.base_url == DEFAULT_BASE_URL:
        return server if server.api_key and name.entity != embedded.ENTITY else None
    server = _named_server(server.base_url, environ)
    return None if name.entity == embedded.ENTITY and _is_anothers(server) else server


def knows_sweeps(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether a verb that names no sweep has one to find: at W&B, or on this machine."""
    if (embedded.default_data() / DATABASE).exists():
        return True
    return server_of(Where(None, None), SweepName(None, None, None), environ) is not None


def find_sweep(api: SweepSource, name: SweepName) -> SweepInfo:
    """Give the named sweep; without an id the newest one of this server."""
    entity = name.entity or api.default_entity()
    if name.id and name.project:
        return api.sweep(entity, name.project, name.id)
    named = name.project or (os.environ.get("WANDB_PROJECT") if name.id else None)
    projects = [named] if named else api.projects(entity)
    found = [sweep for project in projects for sweep in api.sweeps(entity, project)]
    if name.id:
        found = [sweep for sweep in found if sweep.id == name.id]
    if not found:
        wanted = f"no sweep {name.id}" if name.id else "no sweeps"
        raise SweepctlError(f"{wanted} at {api.where}", "name one as ENTITY/PROJECT/SWEEP_ID")
    return max(found, key=lambda sweep: sweep.created_at or "")


def create_sweep(api: WandbApi, spec: SweepSpec, entity: str | None, project: str) -> SweepInfo:
    """Create the sweep of a file, once, whatever answers are lost on the way."""
    from sweepctl.sweepfile.load import config_text  # only here: it reads sweep files

    return api.create_sweep(
        entity_of(spec, entity) or api.default_entity(),
        project,
        spec.to_wandb_config(),
        config_text,
    )


@dataclass(frozen=True, slots=True)
class NewSweep:
    """A sweep that `init` created: its name, its page if that stays, the command that runs it."""

    name: str
    page: str | None
    next_command: str


def init_sweep(
    spec: SweepSpec,
    where: Where,
    entity: str | None,
    project: str,
    sweep_ids: Path,
    say: Callable[[str], None],
) -> NewSweep:
    """Create the sweep of a file and write its id into sweep_ids.json."""
    check_sweep_ids(sweep_ids)
    wanted = SweepName(entity, project, None)
    _want_login(where, wanted)
    server = server_of(where, wanted)
    with open_api(where, wanted, say, makes=True) as api:
        sweep = create_sweep(api, spec, entity, project)
    name = f"{sweep.entity}/{sweep.project}/{sweep.id}"
    if server is None:
        data = ["--data", str(where.data)] if where.data else []
        command = by_name = ["sweepctl", "local", spec.argument, "--sweep", name, *data]
    else:
        named = ["--server", where.server] if where.server else []
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


@dataclass(frozen=True, slots=True)
class SeenSweep:
    """A sweep as it was read at one moment."""

    status: SweepStatus
    config: Mapping[str, Any]


def read_status(api: SweepSource, name: SweepName, data: Path | None = None) -> SeenSweep:
    """Read a sweep, its config and its runs; of this machine's (in `data`) the agents' GPUs."""
    sweep = find_sweep(api, name)
    config = read_config(sweep.config_text)
    status = sweep_status(sweep, config, api.runs(sweep), datetime.now(timezone.utc))
    if sweep.entity == embedded.ENTITY:
        logs = embedded.agent_logs(data or embedded.default_data(), sweep.id)
        status = with_gpus(status, gpus.recorded(logs))
    return SeenSweep(status, config)


def check_sweep_ids(path: Path) -> None:
    """Complain about an unusable sweep_ids.json before anything is created."""
    if path.exists():
        _read_sweep_ids(path)
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}", "choose another file with --sweep-ids")


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


def failure_options(limit: str | None) -> list[str]:
    """Give an agent's options that say after how many first failures it gives up."""
    from sweepctl_pod.first_runs import limit_of  # only here: the other verbs train nothing

    if limit is None:
        return []
    try:
        limit_of(limit)
    except ValueError:
        raise UsageError(
            f"--max-initial-failures {limit}: expected a number of runs", "write 3, or 0 for never"
        ) from None
    return ["--max-initial-failures", limit]


def run_agent(
    name: SweepName,
    *,
    server: str | None,
    count: int,
    grammar: str,
    max_initial_failures: str | None,
    say: Callable[[str], None],
) -> int:
    """Take `count` runs from a sweep on this machine; give the agent's exit code."""
    from sweepctl_pod.agent import main as run_pod_agent  # only here: no other verb trains

    failures = failure_options(max_initial_failures)
    where = Where(server, None)
    _want_login(where, name)
    with open_api(where, name, say) as api:
        sweep = find_sweep(api, name)
        environ = {**os.environ, "WANDB_BASE_URL": api.base_url}
        if api.connection.api_key:
            environ["WANDB_API_KEY"] = api.connection.api_key
        return run_pod_agent(
            [
                *("--sweep", f"{sweep.entity}/{sweep.project}/{sweep.id}"),
                *("--count", str(count), "--grammar", grammar, "--preflight-gpu", "off"),
                *("--refused-limit-s", "10", "--asker", "person"),  # who is waiting
                *failures,
            ],
            environ,
        )


def run_server(
    data: Path | None,
    listen: str,
    *,
    agent_timeout_s: float,
    api_keys: Path | None,
    allowed_hosts: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Run the embedded server until it is told to end."""
    from sweepctl.server import app as http  # only here: the other verbs need no web framework

    host, port = listen_address(listen)
    folder = (data or embedded.default_data()).absolute()

    def announce(url: str) -> None:
        embedded.announce(folder, url)
        say(f"listening on {url}")

    try:
        http.serve(
            folder,
            host,
            port,
            api_keys=_read_api_keys(api_keys),
            allowed_hosts=allowed_hosts,
            agent_timeout_s=agent_timeout_s,
            on_listening=announce,
        )
    finally:
        embedded.withdraw(folder)


def listen_address(listen: str) -> tuple[str, int]:
    """Read the option --listen."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {listen} is no HOST:PORT", "try --listen 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def _read_api_keys(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        keys = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the API keys in {path}: {error}") from error
    if not keys:
        raise UsageError(f"{path} holds no API key", "write one of 40 characters a line")
    return keys


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


def _is_anothers(server: Connection) -> bool:
    """Say whether a server answers, and is none of ours: W&B names another entity."""
    try:
        return WandbClient(server, timeout_s=10).viewer_entity() != embedded.ENTITY
    except ApiError:
        return False


def _want_login(where: Where, name: SweepName) -> None:
    """Refuse to take this machine's data for the W&B that was forgotten to log in to."""
    is_asked_for = where.data is not None or name.entity == embedded.ENTITY
    if not is_asked_for and server_of(where, name) is None:
        raise UsageError(
            "no W&B login: no WANDB_API_KEY and no entry in netrc",
            f"{how_to_log_in(DEFAULT_BASE_URL)}; a sweep without W&B is run by `sweepctl local`",
        )


def _named_server(url: str, environ: Mapping[str, str]) -> Connection:
    if not re.match(r"https?://", url):
        raise UsageError(f"'{url}' is no address of a server", f"try --server http://{url}")
    named = connection_from_environ({**environ, "WANDB_BASE_URL": url.rstrip("/")}, Path.home())
    if named.api_key is None and re.match(r"https?://(127\.|localhost|\[::1\])", url):
        return embedded.connection(named.base_url)
    return named
