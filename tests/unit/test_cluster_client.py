"""The Kubernetes API when it misbehaves: answers cut off, no JSON, objects that are going away."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sweepctl.kube.client import Cluster
from sweepctl.kube.errors import ClusterError
from tests.unit.kubernetes_api import Answer, Api, answer, cluster_of, serving


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as served:
        yield served


@pytest.fixture
def cluster(api: Api) -> Cluster:
    return cluster_of(api)


PODS = {"items": [{"metadata": {"name": "a"}}]}
CUT_OFF: Answer = (200, "application/json", b'{"items": [', 100)


def test_answer_that_is_cut_off_is_asked_for_again(api: Api, cluster: Cluster) -> None:
    api.answers = [CUT_OFF, answer(PODS)]
    assert cluster.list("Pod", "robots") == PODS["items"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(CUT_OFF, "http://.*: connection broken$", id="cut off"),
        pytest.param(
            (200, "text/html", b"<html>Log in</html>", 0),
            "is no Kubernetes API: it answered no JSON",
            id="a log-in page",
        ),
        pytest.param(
            (502, "text/html", b"<html>Bad gateway</html>", 0), "answered 502", id="a proxy's page"
        ),
    ],
)
def test_answer_that_cannot_be_read_is_an_expected_error(
    api: Api, cluster: Cluster, given: Answer, message: str
) -> None:
    api.answers = [given]
    calls: list[Callable[[], object]] = [
        lambda: cluster.list("Pod", "robots"),
        lambda: cluster.patch("Job", "legs", {}, "robots"),
    ]
    for call in calls:
        with pytest.raises(ClusterError, match=message):
            call()


def test_object_that_is_going_away_is_not_taken_for_one_that_stays(
    api: Api, cluster: Cluster
) -> None:
    metadata = {"name": "legs-runs", "deletionTimestamp": "2026-05-01T12:00:00Z"}
    api.answers = [answer({"metadata": metadata})]
    wanted = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "legs-runs", "namespace": "robots"},
    }
    with pytest.raises(ClusterError) as refusal:
        cluster.apply(wanted)
    assert refusal.value.message == "persistentvolumeclaim/legs-runs is still being deleted"
    assert not refusal.value.is_transient
    assert api.asked == ["GET /api/v1/namespaces/robots/persistentvolumeclaims/legs-runs"]


def test_watch_that_comes_too_late_ends_and_is_begun_again_by_the_caller(
    api: Api, cluster: Cluster
) -> None:
    listed = {"metadata": {"resourceVersion": "1"}, "items": PODS["items"]}
    api.answers = [answer(listed), answer({"message": "too old resource version"}, 410)]
    assert list(cluster.watch("Pod", "robots", selector="a=b")) == [("ADDED", PODS["items"][0])]
