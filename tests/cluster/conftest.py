"""The cluster that the tests of this folder run on.

`SWEEPCTL_TEST_KUBECONFIG` names a cluster of the user's own; else it is the test bed, started here
when it is not up and then taken down again. Several processes of pytest share one bed: the first
starts it, the last takes it down. Where neither can be had, the tests are skipped with the reason;
with CI=true they fail, because a skip there would hide that nothing was tested.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from tests import needs
from tests.cluster.releases import Release, release_in
from tests.cluster.sweeps import Sweepctl, offer_plain_trainer
from tests.testbed import lifecycle
from tests.testbed.binaries import MODULES, is_built
from tests.testbed.cluster import Cluster, restricted_namespace
from tests.testbed.layout import Bed, bed
from tests.testbed.requirements import BedUnavailable
from tests.testbed.server_image import offer_server_image
from tests.testbed.state import State

OWN_CLUSTER = "SWEEPCTL_TEST_KUBECONFIG"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _shared_bed() -> Iterator[Cluster]:
    """The bed as a cluster; if tests have started it, the last of their processes takes it down."""
    chosen = bed(os.environ.get("SWEEPCTL_TESTBED", "default"), os.environ)
    state = State.read(chosen)
    was_up = state is not None and state.is_up
    lacking = [m.name for m in MODULES if not is_built(m, os.environ)]
    if lacking and sys.platform == "linux":
        raise BedUnavailable(
            f"the programs of the test bed are not built yet ({', '.join(lacking)}): "
            "make testbed-up"
        )
    while True:
        running = lifecycle.up(chosen, os.environ, _say)
        with (chosen.root / "tests.lock").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_SH)
            # Another process may have taken down just now what `up` has found.
            if not _is_there(users):
                was_up = False
                continue
            if not was_up:
                (chosen.root / "started-by-tests").touch()
            yield running
            with contextlib.suppress(BlockingIOError):  # others still test on it
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (chosen.root / "started-by-tests").exists():
                    lifecycle.down(chosen, _say)
            return


def _is_there(file: TextIO) -> bool:
    path = Path(file.name)
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster to test on: the user's own, or the test bed."""
    if own := os.environ.get(OWN_CLUSTER):
        yield Cluster(Path(own), {}, None)
        return
    with contextlib.ExitStack() as stack:
        yield needs.got(stack.enter_context, _shared_bed())


@pytest.fixture(scope="session")
def the_bed(cluster: Cluster) -> Bed:
    """The test bed behind the cluster, for what only it can do."""
    if cluster.bed is None:
        pytest.skip(f"{OWN_CLUSTER} names a cluster that is not a test bed")
    return cluster.bed


@pytest.fixture(scope="session")
def server_image(cluster: Cluster, the_bed: Bed) -> None:
    """Have the server's image of this checkout on the nodes."""
    offer_server_image(cluster, the_bed)


@pytest.fixture
def sweepctl(cluster: Cluster, namespace: str, tmp_path: Path) -> Sweepctl:
    """The command line in a namespace with the plain trainer, and in a folder of its own."""
    offer_plain_trainer(cluster, namespace)
    return Sweepctl(cluster, namespace, tmp_path)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own that enforces Pod Security "restricted"."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.apply(restricted_namespace(name))
    account = ("kubectl", "-n", name, "get", "serviceaccount", "default")
    cluster.wait_for("pods are admitted", lambda: cluster.run(*account).returncode == 0)
    yield name
    cluster.run("kubectl", "-n", name, "delete", "jobs", "--all", "--wait=false")
    cluster.run("kubectl", "delete", "namespace", name, "--wait=false")
    # The pods' GPUs are free for the next test, whatever they do with SIGTERM.
    cluster.run(
        "kubectl", "-n", name, "delete", "pods", "--all", "--grace-period=1", "--wait=false"
    )


@pytest.fixture
def release(cluster: Cluster, namespace: str, tmp_path: Path) -> Release:
    """A release of the chart that is not installed yet."""
    return release_in(cluster, namespace, tmp_path)
