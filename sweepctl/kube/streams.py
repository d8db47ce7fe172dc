"""Requests of the Kubernetes API that become a two-way stream: port-forward and exec.

The official client sends them by the methods of its models, which cost more to import than the
request; here they are asked for by path, and their refusals are put into words.
"""

from __future__ import annotations

from typing import Any

from sweepctl.kube.client import dynamic_client
from sweepctl.kube.errors import Call, ClusterError, explain, first_line


class Upgradable:
    """An ApiClient in the shape that the client's streams want: the owner of a method."""

    def __init__(self, client: Any) -> None:
        from kubernetes.client import ApiClient

        # A stream swaps a method of its ApiClient while it connects: nobody else may use it.
        self.api_client = ApiClient(client.configuration)
        self._dynamic = dynamic_client(self.api_client)

    def connect(self, path: str, port: int, **_: Any) -> Any:
        """Ask for a forward to a port; the client's `portforward` passes the port itself."""
        return self.get(path, [("ports", str(port))])

    def get(self, path: str, query: list[tuple[str, str]], **_: Any) -> Any:
        """Ask for a stream of any kind."""
        return self._dynamic.request("GET", path, query_params=query, serialize=False)


def stream_refusal(error: Exception, call: Call, words: str) -> ClusterError:
    """Say why a stream did not come about; `words` where the API's answer does not tell."""
    from websocket import WebSocketBadStatusException

    cause: BaseException | None = error  # the client keeps of the answer no more than a text
    while cause is not None and not isinstance(cause, WebSocketBadStatusException):
        cause = cause.__context__
    if cause is not None:
        body = (cause.resp_body or b"").decode("utf-8", "replace")
        return explain(cause.status_code, body, call)
    return ClusterError(f"{words}: {first_line(getattr(error, 'reason', None) or error)}")
