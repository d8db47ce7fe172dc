"""The Kubernetes API when it misbehaves: answers cut off, no JSON, objects that are going away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from kubernetes import client

from sweepctl.cluster.client import Cluster
from sweepctl.cluster.errors import ClusterError

Answer = tuple[int, str, bytes, int]
"""Status, content type, body, and how many bytes of it the header promises beyond it."""


def answer(body: object, status: int = 200) -> Answer:
    return status, "application/json", json.dumps(body).encode(), 0


class Api(ThreadingHTTPServer):
    """Gives the answers that a test put in, in turn; the last one again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = []
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        api = self.server
        assert isinstance(api, Api)
        api.asked.append(f"{self.command} {self.path.partition('?')[0]}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, kind, body, missing = api.answers.pop(0) if api.answers[1:] else api.answers[0]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_PATCH = do_POST = do_DELETE = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as served:
        thread = Thread(target=served.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def cluster(api: Api) -> Cluster:
    configuration = client.Configuration(host=f"http://127.0.0.1:{api.server_port}")
    configuration.retries = False
    return Cluster(
        client.ApiClient(configuration),
        context="test",
        namespace="robots",
        sleep=lambda seconds: None,
    )


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
