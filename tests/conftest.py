"""For every tier: a real embedded server, and how tests share out between processes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import clients
from tests.serving import ServerProcess
from tests.side_by_side import pytest_xdist_make_scheduler
from tests.testbed.build_folders import clear_left_builds

# For the inner loop (`make unit`); `make test` draws as many as hypothesis does by itself.
settings.register_profile("quick", max_examples=15)

__all__ = ["pytest_xdist_make_scheduler", "server", "start_server"]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Clear away, once and not in each worker, what tests that were killed have left."""
    if not hasattr(session.config, "workerinput"):
        clear_left_builds()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what came of every feature with every version of W&B's client, when all were tried."""
    reports = [report for each in terminalreporter.stats.values() for report in each]
    found = clients.cells_in(
        pair for report in reports for pair in getattr(report, "user_properties", ())
    )
    if not clients.IS_ALL or not found:
        return

    def cell(feature: str, client: str) -> str:
        lack = clients.LACKS.get(feature, {}).get(client)
        words = {None: "not tried", True: "ok", False: "FAILED"}
        return lack or words[found.get((feature, client))]

    terminalreporter.write_line("")
    terminalreporter.write(clients.table(cell))


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Give the function that starts servers, each on its own data; they end with the test."""
    started: list[ServerProcess] = []

    def start(*options: str, data: Path | None = None, **how: Any) -> ServerProcess:
        folder = data or tmp_path / f"server-{len(started)}"
        started.append(ServerProcess(folder, *options, **how))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """Give a running embedded server with nothing in it."""
    return start_server()
