"""A port-forward that the cluster refuses, or that cannot be had at the moment."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import pytest

from sweepctl.kube.errors import ClusterError
from sweepctl.kube.port_forward import ServiceAddress, forwarded
from tests.unit.kubernetes_api import Api, answer, cluster_of, serving

ADDRESS = ServiceAddress("legs-server", "robots", 80, "http")
SERVICE = answer({"spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": 8080}]}})
POD = {
    "metadata": {"name": "legs-server-0"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}
DENIED = {
    "message": 'pods "legs-server-0" is forbidden: User "ann" cannot get resource'
    ' "pods/portforward" in API group "" in the namespace "robots"'
}


def prepare(api: Api, status: int, refusal: object) -> None:
    once = [SERVICE, answer({"items": [POD]}), answer(refusal, status)]
    api.answers = [*once, *once]


def test_forward_that_is_forbidden_says_so_at_once_with_the_role_to_ask_for() -> None:
    with serving() as api:
        prepare(api, 403, DENIED)
        with (
            pytest.raises(ClusterError) as refusal,
            forwarded(cluster_of(api), ADDRESS),
        ):
            raise AssertionError("began")
    assert refusal.value.message == (
        "user 'ann' may not get pods/portforward in namespace 'robots'"
    )
    assert "--verb=get --resource=pods/portforward" in (refusal.value.hint or "")


def test_forward_that_fails_for_the_moment_is_left_to_who_connects() -> None:
    with serving() as api:
        prepare(api, 503, {"message": "busy"})
        with forwarded(cluster_of(api), ADDRESS) as url:
            assert url.startswith("http://127.0.0.1:")


def test_every_connection_has_a_stream_of_its_own_the_first_opened_beforehand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far_ends: list[socket.socket] = []

    def open_stream(self: object, pod: str, port: int) -> socket.socket:
        assert (pod, port) == ("legs-server-0", 8080)
        near, far = socket.socketpair()
        far_ends.append(far)
        return near

    monkeypatch.setattr("sweepctl.kube.port_forward._Relay._open_stream", open_stream)
    with serving() as api:
        api.answers = [SERVICE, answer({"items": [POD]})]
        with forwarded(cluster_of(api), ADDRESS) as url:
            assert len(far_ends) == 1
            for count in (1, 2):
                port = urlsplit(url).port or 0
                with socket.create_connection(("127.0.0.1", port), timeout=10) as local:
                    local.sendall(b"hello")
                    local.shutdown(socket.SHUT_WR)
                    far = _await(far_ends, count)
                    assert far.recv(5) == b"hello"
                    far.sendall(b"there")
                    far.close()
                    assert local.recv(5) == b"there"
        assert len(far_ends) == 2


def _await(found: list[socket.socket], count: int) -> socket.socket:
    deadline = time.monotonic() + 10
    while len(found) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return found[count - 1]
