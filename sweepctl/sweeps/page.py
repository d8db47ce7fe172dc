"""The page of a sweep for people: where it is, and who serves it while they look.

W&B's pages and those of a server that runs are there anyway. For data of this machine without a
server one is started, and the server inside a cluster is reached by a port-forward: both end when
the reader goes.
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

from sweepctl.server.access.addresses import is_loopback
from sweepctl.server.server_process import check_holds_sweeps, connection, start_server
from sweepctl.sweeps.api import WandbApi, dashboard_url
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import find_sweep
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


def page_at(api: WandbApi, wanted: SweepName) -> Page:
    """Give the page of a sweep at a server that is there."""
    sweep = find_sweep(api, wanted)
    return Page(sweep.full_name, dashboard_url(api.connection, sweep))


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
            f"for others: sweepctl server --data {data} --listen {listen} --api-keys FILE",
        )
    check_holds_sweeps(data)
    server, url = start_server(
        data, agent_timeout_s=60, host=host, port=port, allowed_hosts=allowed_hosts
    )
    try:
        page = page_at(WandbApi(connection(url, data=data), on_wait=say), wanted)
        if server is None:
            yield replace(page, notes=(f"a server of {data} runs already",))
        else:
            yield replace(page, notes=(f"served from {data}",), await_end=server.await_end)
    finally:
        if server is not None:
            server.stop()


def browse(address: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Open an address in a browser where there is a display; say whether one was opened."""
    has_display = sys.platform == "darwin" or any(
        environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    return has_display and webbrowser.open(address)


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
