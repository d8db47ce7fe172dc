"""What W&B's tests need to run against the embedded server: loaded by their pytest, with `-p`.

It writes the outcome of each test as a line of JSON, makes users of the keys that the server was
given, and stands in for parts of the client that it has no more and the tests import.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

_MAX_TEXT = 6000


def pytest_runtest_logreport(report: Any) -> None:
    """Write how a test ended; what passed is told by its call alone."""
    is_told = report.when == "call" or report.outcome != "passed"
    if not is_told or "PYTEST_XDIST_WORKER" in os.environ:
        return
    text = "" if report.outcome == "passed" else str(report.longrepr)[-_MAX_TEXT:]
    with Path(os.environ["SWEEPCTL_REPORT"]).open("a") as out:
        out.write(json.dumps({"id": report.nodeid, "outcome": report.outcome, "text": text}) + "\n")


@pytest.fixture(scope="session", autouse=True)
def users_are_keys_of_the_server() -> None:
    """Have every user that a test makes be one whose key, which is its name, the server knows."""
    fixtures = importlib.import_module("tests.system_tests.backend_fixtures")
    left = iter(Path(os.environ["SWEEPCTL_USERS"]).read_text().split())
    fixtures.BackendFixtureFactory.make_user = lambda self, name=None, admin=False: next(left)


class _NoInternalApi:
    def __init__(self, *_: Any, **__: Any) -> None:
        pytest.skip("no InternalApi in this client")


# Not before pytest captures: wandb takes hold of sys.stdout when it is imported.
@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Let modules be imported that name what the client has no more; its use skips the test."""
    cli: Any = importlib.import_module("wandb.cli.cli")
    if not hasattr(cli, "_api"):
        cli._api = None
    name = "wandb.sdk.internal.internal_api"
    try:
        is_there = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        is_there = False
    if is_there:
        return
    module: Any = types.ModuleType(name)
    module.Api = _NoInternalApi
    sys.modules[name] = module
    internal: Any = importlib.import_module("wandb.sdk.internal")
    apis: Any = importlib.import_module("wandb.apis")
    internal.internal_api, apis.InternalApi = module, _NoInternalApi
