"""The page of a sweep for people: where it is, and who serves it while they look.

W&B's pages and those of a server that runs are there anyway. For data of this machine without a
server one is started, and the server inside a cluster is reached by a port-forward: both end when
the reader goes.
"""

from __future__ import annotations

import html
import os
import signal
import sys
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import platformdirs

from sweepctl.server.access.addresses import is_loopback
from sweepctl.server.server_process import ENTITY, check_holds_sweeps, connection, start_server
from sweepctl.sweeps.api import WandbApi, dashboard_url
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import find_sweep
from sweepctl_pod.errors import UsageError

ONCE = "the address logs in the first who opens it within 60 s; the same command gives another"


@dataclass(frozen=True, slots=True)
class Page:
    """The page of a sweep, and for how long it is there."""

    sweep: str
    """ENTITY/PROJECT/ID"""
    address: str
    notes: tuple[str, ...] = ()
    """What to know about it."""
    logs_in: bool = False
    """Whether the address logs its first visitor in."""
    await_end: Callable[[], None] | None = None
    """Waits for the end of what serves it; None when it is there without us."""


def page_at(api: WandbApi, wanted: SweepName, environ: Mapping[str, str] = os.environ) -> Page:
    """Give the page of a sweep at a server that is there, with a login where that asks for one.

    Not in a pod: what is printed there many may read.
    """
    sweep = find_sweep(api, wanted)
    address = dashboard_url(api.connection, sweep)
    is_ours = sweep.entity == ENTITY and "KUBERNETES_SERVICE_HOST" not in environ
    token = api.login_token() if is_ours else None
    if token is None:
        return Page(sweep.full_name, address)
    return Page(sweep.full_name, f"{address}?login={token}", (ONCE,), logs_in=True)


@contextmanager
def page_of_data(
    data: Path,
    wanted: SweepName,
    listen: str,
    allowed_hosts: Sequence[str],
    say: Callable[[str], None],
) -> Iterator[Page]:
    """Give the page of a sweep of a data folder: by its live server, else by one of our own."""
    host, port = listen_address(listen)
    if not is_loopback(host):
        raise UsageError(
            f"open serves the pages to this machine alone, and --listen {listen} is beyond it",
            f"for others: sweepctl server --data {data} --listen {listen}",
        )
    check_holds_sweeps(data)
    server, url = start_server(
        data, agent_timeout_s=60, host=host, port=port, allowed_hosts=allowed_hosts
    )
    try:
        page = page_at(WandbApi(connection(url, data=data), on_wait=say), wanted)
        if server is None:
            yield replace(page, notes=(*page.notes, f"a server of {data} runs already"))
        else:
            notes = (*page.notes, f"served from {data}")
            yield replace(page, notes=notes, await_end=server.await_end)
    finally:
        if server is not None:
            server.stop()


def browse(page: Page, environ: Mapping[str, str] = os.environ) -> bool:
    """Open a page in a browser where there is a display; say whether one was opened.

    Everybody on the machine sees a browser's command line, so an address that logs in is given to
    it by a file that its owner alone can read.
    """
    has_display = sys.platform == "darwin" or any(
        environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if not has_display:
        return False
    if not page.logs_in:
        return webbrowser.open(page.address)
    try:
        return webbrowser.open(_leading_to(page.address).as_uri())
    except OSError:
        return False


def _leading_to(address: str) -> Path:
    """Write a page that leads to an address; the next one replaces it."""
    path = platformdirs.user_state_path("sweepctl") / "open.html"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    text = f'<meta http-equiv="refresh" content="0; url={html.escape(address)}">\n'
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def stay(page: Page) -> None:
    """Wait until Ctrl-C or SIGTERM; a shell makes its background jobs ignore Ctrl-C."""
    if page.await_end is None:
        return
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        page.await_end()


def until_interrupted() -> None:
    """Wait for ever; a signal ends it."""
    Event().wait()


def listen_address(listen: str) -> tuple[str, int]:
    """Read the option --listen."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {listen} is no HOST:PORT", "try --listen 127.0.0.1:8080")
    return host.strip("[]"), int(port)
