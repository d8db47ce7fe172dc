"""A server inside the cluster, reached from outside: a local port whose connections go to its pod.

By port-forward, since the API server's service proxy drops our Authorization header. Every local
connection is a stream of its own, opened as it comes, so a pod that is replaced is found again.
"""

from __future__ import annotations

import queue
import re
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sweepctl.kube.client import Cluster, Object
from sweepctl.kube.errors import Call, ClusterError
from sweepctl.kube.kinds import RESOURCES
from sweepctl.kube.streams import Upgradable, stream_refusal

_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """A Service of the cluster, as its address inside the cluster names it."""

    name: str
    namespace: str
    port: int
    scheme: str


def service_address(url: str, namespace: str) -> ServiceAddress | None:
    """Read the address of a Service: `http://NAME[.NAMESPACE[.svc[.DOMAIN]]][:PORT]`, else None.

    A host of one word is a Service of `namespace`; one of two words could be any host, so it is
    only taken for a Service when its second word is that namespace.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    words = host.split(".")
    is_service = host != "localhost" and (
        len(words) == 1
        or (len(words) == 2 and words[1] == namespace)
        or (len(words) >= 3 and words[2] == "svc")
    )
    if not is_service or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", words[0]):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return ServiceAddress(words[0], words[1] if len(words) > 1 else namespace, port, parts.scheme)


@contextmanager
def forwarded(cluster: Cluster, address: ServiceAddress) -> Iterator[str]:
    """Listen on a local port for as long as the block runs; give the address to use instead.

    A forward that is refused for good is an error here: who connects would only see it end.
    """
    pod, port = _backend(cluster, address)
    relay = _Relay(cluster, address, pod, port)
    thread = threading.Thread(target=relay.serve, name="port-forward", daemon=True)
    thread.start()
    try:
        relay.opened.result()
        yield f"{address.scheme}://127.0.0.1:{relay.port}"
    finally:
        relay.close()
        thread.join(5)


def ready_pod(cluster: Cluster, address: ServiceAddress) -> str | None:
    """Name a pod that answers for a Service; None when there is none, or no Service yet."""
    service = cluster.get("Service", address.name, address.namespace)
    pods = _pods_behind(cluster, service, address.namespace) if service else []
    return next((str(pod["metadata"]["name"]) for pod in pods if _is_ready(pod)), None)


def _backend(cluster: Cluster, address: ServiceAddress) -> tuple[str, int]:
    """Find a ready pod behind a Service and the port on which it listens there."""
    service = cluster.get("Service", address.name, address.namespace)
    if service is None:
        raise ClusterError(
            f"there is no Service '{address.name}' in namespace '{address.namespace}'",
            "is the server installed? kubectl get services -n " + address.namespace,
            status=404,
        )
    pods = _pods_behind(cluster, service, address.namespace)
    pod = next((pod for pod in pods if _is_ready(pod)), None)
    if pod is None:
        raise ClusterError(
            f"the server behind Service '{address.name}' has no ready pod",
            f"kubectl get pods -n {address.namespace} -l {_selector(service)}",
        )
    port = next(
        (entry for entry in service["spec"]["ports"] if entry["port"] == address.port), None
    )
    if port is None:
        known = ", ".join(str(entry["port"]) for entry in service["spec"]["ports"])
        raise ClusterError(
            f"Service '{address.name}' has no port {address.port}", f"it has: {known}"
        )
    return pod["metadata"]["name"], _container_port(pod, port.get("targetPort", address.port))


def _pods_behind(cluster: Cluster, service: Object, namespace: str) -> list[Object]:
    return cluster.list("Pod", namespace, selector=_selector(service))


def _selector(service: Object) -> str:
    labels = (service["spec"].get("selector") or {}).items()
    return ",".join(f"{key}={value}" for key, value in labels)


def _is_ready(pod: Object) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def _container_port(pod: Object, port: str | int) -> int:
    if isinstance(port, int):
        return port
    for container in pod["spec"]["containers"]:
        for entry in container.get("ports") or []:
            if entry.get("name") == port:
                return int(entry["containerPort"])
    raise ClusterError(f"pod {pod['metadata']['name']} has no port named '{port}'")


class _Relay:
    """Accepts local connections and joins each with a stream to the pod."""

    def __init__(self, cluster: Cluster, address: ServiceAddress, pod: str, port: int) -> None:
        self._cluster = cluster
        self._address = address
        self._target = (pod, port)
        self._api = Upgradable(cluster.client)
        self._connecting = threading.Lock()
        self._first: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.opened: Future[None] = Future()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def serve(self) -> None:
        try:
            self._first.put(self._connect())
        except ClusterError as error:
            if not error.is_transient:
                self.opened.set_exception(error)
                return
        except BaseException as error:
            self.opened.set_exception(error)
            return
        self.opened.set_result(None)
        while True:
            try:
                local, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(local,), daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with suppress(queue.Empty):
            self._first.get_nowait().close()

    def _join(self, local: socket.socket) -> None:
        with local:
            try:
                remote = self._first.get_nowait()
            except queue.Empty:
                try:
                    remote = self._connect()
                except ClusterError:
                    return  # the caller sees its connection end, and tries again or says so
            back = threading.Thread(target=_pump, args=(remote, local), daemon=True)
            back.start()
            _pump(local, remote)
            back.join()
            remote.close()

    def _connect(self) -> Any:
        try:
            return self._open_stream(*self._target)
        except ClusterError:
            self._target = _backend(self._cluster, self._address)
            return self._open_stream(*self._target)

    def _open_stream(self, pod: str, port: int) -> Any:
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream import portforward
        from websocket import WebSocketException

        path = RESOURCES["Pod"].path(self._address.namespace, pod, "portforward")
        try:
            with self._connecting:
                stream = portforward(self._api.connect, path, port)
            return stream.socket(port)
        except (ApiException, WebSocketException, OSError) as error:
            where = (pod, self._address.namespace, self._cluster.server)
            call = Call("get", "pods/portforward", "Pod", *where)
            raise stream_refusal(error, call, f"cannot forward to pod {pod}") from error


def _pump(source: Any, sink: Any) -> None:
    """Copy until the source ends or the sink is gone, then say so to the sink."""
    with suppress(OSError):
        while block := source.recv(_BLOCK):
            sink.sendall(block)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
