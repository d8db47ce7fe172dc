"""Where a sweep lives, decided once: this machine's embedded data, or a W&B server.

The embedded data has the entity `local`; the server is the one that the environment and the
options name. A sweep in a cluster is found by `jobs`, from the same options.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweepctl.server.server_process import (
    ENTITY,
    check_holds_sweeps,
    connected,
    connection,
    default_data,
    key_of_server,
)
from sweepctl.server.store.database import DATABASE
from sweepctl.sweeps.api import SweepSource, WandbApi
from sweepctl.sweeps.names import SweepName
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.wandb.client import (
    ApiError,
    Connection,
    SweepInfo,
    WandbClient,
    connection_from_environ,
)
from sweepctl_pod.wandb.connection import DEFAULT_BASE_URL, how_to_log_in


@dataclass(frozen=True, slots=True)
class Place:
    """Where a verb looks for sweeps, as the options say it."""

    namespace: str | None = None
    context: str | None = None
    server: str | None = None
    data: Path | None = None
    selector: str | None = None
    all_namespaces: bool = False

    @property
    def wants_cluster(self) -> bool:
        """Whether an option is for sweeps in a cluster alone."""
        return self.all_namespaces or any(
            option is not None for option in (self.namespace, self.context, self.selector)
        )

    @property
    def wants_server(self) -> bool:
        """Whether an option is for sweeps of a server or of this machine alone."""
        return self.server is not None or self.data is not None


def local_data(place: Place) -> Path:
    """Give the folder of this machine's data that is meant."""
    return place.data or default_data()


@contextmanager
def open_api(
    place: Place,
    name: SweepName,
    say: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
    *,
    makes: bool = False,
) -> Iterator[WandbApi]:
    """Open the API that keeps the named sweep, or will keep a new one if the caller `makes` it.

    Embedded data is served for as long as the command needs it.
    """
    server = server_of(place, name, environ)
    if server is not None:
        yield _api_of(server, say, environ)
        return
    data = local_data(place)
    with connected(data, makes=makes) as server:
        yield WandbApi(server, on_wait=say)


@contextmanager
def open_source(
    place: Place,
    name: SweepName,
    say: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
) -> Iterator[SweepSource]:
    """Open what keeps the named sweep, to read it; embedded data is read from the disk."""
    server = server_of(place, name, environ)
    if server is not None:
        yield _api_of(server, say, environ)
        return
    # Only here: a W&B server is read without them.
    from sweepctl.server.stored_sweeps import StoredSweeps

    data = local_data(place)
    check_holds_sweeps(data)
    yield StoredSweeps(data)


def server_of(
    place: Place, name: SweepName, environ: Mapping[str, str] = os.environ
) -> Connection | None:
    """Give the server that is meant; None means this machine's embedded data.

    `--server` names any server, `--data` embedded data. Otherwise it is the wandb client's server;
    but the entity `local` means embedded data, unless that server is a sweepctl server itself.
    Without any W&B login there is embedded data only.
    """
    if place.server:
        return _named_server(place.server, environ)
    if place.data:
        return None
    server = connection_from_environ(environ, Path.home())
    if server.base_url == DEFAULT_BASE_URL:
        return server if server.api_key and name.entity != ENTITY else None
    server = _named_server(server.base_url, environ)
    return None if name.entity == ENTITY and _is_anothers(server) else server


def knows_sweeps(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether a verb that names no sweep has one to find: at W&B, or on this machine."""
    if (default_data() / DATABASE).exists():
        return True
    return server_of(Place(), SweepName(None, None, None), environ) is not None


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
        new = "" if name.id else ", or create one: sweepctl init sweep.yaml --project-name PROJECT"
        raise SweepctlError(f"{wanted} at {api.where}", f"name one as ENTITY/PROJECT/SWEEP_ID{new}")
    return max(found, key=lambda sweep: sweep.created_at or "")


def want_login(place: Place, name: SweepName) -> None:
    """Refuse to use this machine's data where W&B was meant and the login was forgotten."""
    is_asked_for = place.data is not None or name.entity == ENTITY
    if not is_asked_for and server_of(place, name) is None:
        raise UsageError(
            "no W&B login: no WANDB_API_KEY and no entry in netrc",
            f"{how_to_log_in(DEFAULT_BASE_URL)}; a sweep without W&B is run by `sweepctl local`",
        )


def _api_of(server: Connection, say: Callable[[str], None], environ: Mapping[str, str]) -> WandbApi:
    """Give the API of a server that is named, perhaps one that only begins to listen."""

    def renew() -> Connection:
        is_ours = key_of_server(server.base_url) is not None
        return connection(server.base_url, environ) if is_ours else server

    return WandbApi(server, on_wait=say, renew=renew)


def _is_anothers(server: Connection) -> bool:
    """Say whether a server answers and is no sweepctl server: W&B names another entity."""
    try:
        return WandbClient(server, timeout_s=10).viewer_entity() != ENTITY
    except ApiError:
        return False


def _named_server(url: str, environ: Mapping[str, str]) -> Connection:
    if not re.match(r"https?://", url):
        raise UsageError(f"'{url}' is no address of a server", f"try --server http://{url}")
    named = connection_from_environ({**environ, "WANDB_BASE_URL": url.rstrip("/")}, Path.home())
    if key_of_server(named.base_url) is not None:
        return connection(named.base_url, environ)
    if named.api_key is None and re.match(r"https?://(127\.|localhost|\[::1\])", url):
        return connection(named.base_url)
    return named
