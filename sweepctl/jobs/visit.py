"""The page of a sweep for people: where it is, and who serves it while they look.

W&B's pages and those of a server that runs are there anyway. For data of this machine without a
server one is started, and the server inside a cluster is reached by a port-forward: both end with
the visit.
"""

from __future__ import annotations

import os
import signal
import sys
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from sweepctl.jobs.submission import open_submission_api, sweep_name
from sweepctl.jobs.targets import Place, Target, is_in_cluster, open_target
from sweepctl.server import process as embedded
from sweepctl.server.web.auth import is_loopback
from sweepctl.sweeps.api import WandbApi, dashboard_url
from sweepctl.sweeps.place import (
    SweepName,
    Where,
    find_sweep,
    listen_address,
    parse_sweep_name,
    server_of,
)
from sweepctl_pod.errors import UsageError


@dataclass(frozen=True, slots=True)
class Page:
    """The page of a sweep, and for how long it is there."""

    sweep: str
    """ENTITY/PROJECT/ID"""
    address: str
    notes: tuple[str, ...] = ()
    """What to know about it."""
    await_end: Callable[[], None] | None = None
    """Waits for the end of what serves it; None when it is there without us."""


@contextmanager
def open_page(
    name: str | None,
    place: Place,
    *,
    listen: str,
    allowed_hosts: Sequence[str],
    say: Callable[[str], None],
) -> Iterator[Page]:
    """Give the page of a sweep, served for as long as the block runs where nobody else does."""
    if is_in_cluster(name, place):
        with _in_cluster(open_target(name, place), say) as page:
            yield page
        return
    wanted = parse_sweep_name(name)
    server = server_of(Where(place.server, place.data), wanted)
    if server is not None:
        yield _page(WandbApi(server, on_wait=say), wanted)
        return
    data = (place.data or embedded.default_data()).absolute()
    with _of_data(data, wanted, listen, allowed_hosts, say) as page:
        yield page


def browse(address: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Open an address in a browser where there is a display; say whether one was opened."""
    has_display = sys.platform == "darwin" or any(
        environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    return has_display and webbrowser.open(address)


def stay(page: Page) -> None:
    """Wait until Ctrl-C or SIGTERM; a shell has its background jobs ignore the first."""
    if page.await_end is None:
        return
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        page.await_end()


@contextmanager
def _of_data(
    data: Path,
    wanted: SweepName,
    listen: str,
    allowed_hosts: Sequence[str],
    say: Callable[[str], None],
) -> Iterator[Page]:
    host, port = listen_address(listen)
    if not is_loopback(host):
        raise UsageError(
            f"open serves the pages to this machine alone, and --listen {listen} is beyond it",
            f"for others: sweepctl server --data {data} --listen {listen} --api-keys FILE",
        )
    embedded.check_holds_sweeps(data)
    server, url = embedded.start_server(
        data, agent_timeout_s=60, host=host, port=port, allowed_hosts=allowed_hosts
    )
    try:
        page = _page(WandbApi(embedded.connection(url, data=data), on_wait=say), wanted)
        if server is None:
            yield replace(page, notes=(f"a server of {data} runs already",))
        else:
            yield replace(page, notes=(f"served from {data}",), await_end=server.await_end)
    finally:
        if server is not None:
            server.stop()


@contextmanager
def _in_cluster(target: Target, say: Callable[[str], None]) -> Iterator[Page]:
    submission = target.submission()
    with open_submission_api(target.cluster, submission, say) as api:
        page = _page(api, sweep_name(submission, api))
        if api.base_url == (submission.api_url or "").rstrip("/"):
            yield page
            return
        notes = [f"through a port-forward to {api.where}"]
        secret = submission.secret_key
        if secret is not None:
            notes.append(
                "it asks for a user (any) and a password, the API key: kubectl get secret"
                f" {secret.name} -n {submission.namespace}"
                f" -o go-template='{{{{index .data \"{secret.key}\" | base64decode}}}}'"
            )
        yield replace(page, notes=tuple(notes), await_end=_forever)


def _page(api: WandbApi, wanted: SweepName) -> Page:
    sweep = find_sweep(api, wanted)
    name = f"{sweep.entity}/{sweep.project}/{sweep.id}"
    return Page(name, dashboard_url(api.connection, sweep))


def _forever() -> None:
    Event().wait()
