"""A Kubernetes API that answers what a test put in, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from kubernetes import client

from sweepctl.kube.client import Cluster

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
        self.sent: list[tuple[str, Any]] = []
        """The query and the body of each request that was asked."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        api = self.server
        assert isinstance(api, Api)
        path, _, query = self.path.partition("?")
        api.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        api.sent.append((query, json.loads(body) if body else None))
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


@contextmanager
def serving() -> Iterator[Api]:
    with Api() as served:
        thread = Thread(target=served.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            served.shutdown()
            thread.join()


def cluster_of(api: Api) -> Cluster:
    configuration = client.Configuration(host=f"http://127.0.0.1:{api.server_port}")
    configuration.retries = False
    return Cluster(
        client.ApiClient(configuration),
        context="test",
        namespace="robots",
        sleep=lambda seconds: None,
    )
