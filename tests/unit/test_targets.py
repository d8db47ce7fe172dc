"""Which sweep a verb means, and which host names are Services of the cluster."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sweepctl.jobs.cluster_sweep import ClusterSweep
from sweepctl.jobs.targets import is_in_cluster, resolve, resolve_submitted
from sweepctl.kube.port_forward import ServiceAddress, service_address
from sweepctl.sweeps.handle import ServerSweep
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import Place
from sweepctl_pod.errors import UsageError


@pytest.mark.parametrize(
    ("name", "place", "configured", "has_sweeps", "expected"),
    [
        ("legs", Place(), True, True, True),
        ("legs", Place(), False, True, False),
        (None, Place(), True, True, False),
        (None, Place(), True, False, True),
        (None, Place(), False, False, False),
        (None, Place(namespace="robots"), False, True, True),
        ("legs", Place(context="gpu"), False, True, True),
        ("local/legs/1a2b3c4d", Place(), True, False, False),
        ("https://wandb.ai/me/legs/sweeps/1a2b", Place(), True, False, False),
        ("1a2b3c4d", Place(server="http://127.0.0.1:8080"), True, False, False),
        ("1a2b3c4d", Place(data=Path("d")), True, False, False),
    ],
)
def test_name_and_options_say_where_a_sweep_is(
    name: str | None, place: Place, configured: bool, has_sweeps: bool, expected: bool
) -> None:
    assert is_in_cluster(name, place, lambda: configured, lambda: has_sweeps) is expected


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("legs", Place(namespace="robots", server="http://x")),
        ("legs", Place(context="gpu", data=Path("d"))),
        ("local/legs/1a2b", Place(namespace="robots")),
    ],
)
def test_contradicting_places_are_refused(name: str, place: Place) -> None:
    with pytest.raises(UsageError):
        is_in_cluster(name, place, lambda: True)


def test_the_handle_is_the_clusters_or_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sweepctl.jobs.targets.open_cluster", lambda *_: SimpleNamespace(namespace="robots")
    )
    submitted = resolve("legs", Place(namespace="robots"), print)
    assert isinstance(submitted, ClusterSweep)
    assert submitted.here == "legs -n robots"
    served = resolve("local/legs/1a2b", Place(), print)
    assert isinstance(served, ServerSweep)
    assert served.name == SweepName("local", "legs", "1a2b")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://legs-server:8080", ServiceAddress("legs-server", "robots", 8080, "http")),
        ("http://legs-server.robots:80", ServiceAddress("legs-server", "robots", 80, "http")),
        ("http://w.other.svc:8080", ServiceAddress("w", "other", 8080, "http")),
        ("https://w.other.svc.cluster.local", ServiceAddress("w", "other", 443, "https")),
        ("http://w.other.svc.k8s.example:1", ServiceAddress("w", "other", 1, "http")),
        ("https://api.wandb.ai", None),
        ("https://wandb.example.com", None),
        ("http://legs-server.elsewhere:8080", None),
        ("http://localhost:8080", None),
        ("http://127.0.0.1:8080", None),
        ("http://10.0.0.8:8080", None),
        ("http://[::1]:8080", None),
        ("", None),
    ],
)
def test_service_is_told_from_other_hosts(url: str, address: ServiceAddress | None) -> None:
    assert service_address(url, "robots") == address


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        (
            "local/legs/ab12",
            "'local/legs/ab12' is no name of a submitted sweep",
            "a server's sweep",
        ),
        ("Toy Legs", "'Toy Legs' is no name of a submitted sweep", "try toy-legs"),
        ("legs?", "'legs\\?' is no name of a submitted sweep", "try legs"),
    ],
    ids=["a server's sweep", "the sweep's own name", "a character"],
)
def test_name_that_no_object_can_have_is_refused_before_the_cluster_is_asked(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str, hint: str
) -> None:
    monkeypatch.setattr("sweepctl.jobs.targets.open_cluster", lambda *_: pytest.fail("asked"))
    with pytest.raises(UsageError, match=message) as refusal:
        resolve_submitted(name, Place(), lambda line: None)
    assert hint in (refusal.value.hint or "")
