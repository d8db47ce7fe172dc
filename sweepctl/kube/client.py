"""What sweepctl needs of Kubernetes, over the official client; the client's errors end here.

Objects are plain dictionaries as the API sends them: the client's models would cost more than the
requests, to import as well, so its dynamic client is asked by path. Nothing is decided here about
sweeps.
"""

from __future__ import annotations

import copy
import enum
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sweepctl.kube.errors import (
    Call,
    ClusterError,
    FieldConflictError,
    SetupError,
    explain,
    first_line,
    short_reason,
    unreachable,
)
from sweepctl.kube.kinds import RESOURCES, Access, Resource

FIELD_MANAGER = "sweepctl"

Object = dict[str, Any]
T = TypeVar("T")

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_CONNECT_S = 10.0
_READ_S = 60.0
_STREAM_S = 3600.0
_ATTEMPTS = 4
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 5.0


class Outcome(str, enum.Enum):
    """What an apply did, in kubectl's words."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Applied:
    """An object after its apply, and the warnings that came with it."""

    outcome: Outcome
    after: Object
    warnings: tuple[str, ...]


class Cluster:
    """One cluster as one user sees it. Safe to use from several threads at once.

    Calls that change nothing, and those that may be repeated without harm, are repeated a few times
    when the API is busy or the connection breaks.
    """

    def __init__(
        self,
        client: Any,
        *,
        context: str,
        namespace: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client = client
        self.context = context
        self.namespace = namespace
        self.requests = 0
        """How many requests were sent."""
        self._sleep = sleep
        self._dynamic = dynamic_client(client)

    @property
    def server(self) -> str:
        """The address of the Kubernetes API."""
        return str(self.client.configuration.host)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Give one object, or None when there is none of that name."""
        resource = RESOURCES[kind]
        call = self._call("get", resource, name, namespace)
        try:
            return self.send("GET", resource.path(namespace, name), call)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self,
        kind: str | Resource,
        namespace: str | None = None,
        *,
        selector: str | None = None,
        fields: str | None = None,
    ) -> list[Object]:
        """List objects of a kind in one request; those of every namespace when none is named."""
        resource = RESOURCES[kind] if isinstance(kind, str) else kind
        return list(self._list(resource, namespace, selector, fields)["items"])

    def watch(
        self, kind: str, namespace: str, *, selector: str, seconds: int = 300
    ) -> Iterator[tuple[str, Object]]:
        """Give every object of a kind as ADDED, oldest first, then what happens to them.

        Ends when `seconds` are over or the API ends it: call again.
        """
        resource = RESOURCES[kind]
        listed = self._list(resource, namespace, selector, None)
        for item in sorted(listed["items"], key=_created):
            yield "ADDED", item
        query = {
            "labelSelector": selector,
            "resourceVersion": listed["metadata"]["resourceVersion"],
            "timeoutSeconds": str(seconds),
            "watch": "true",
        }
        call = self._call("watch", resource, None, namespace)
        path = resource.path(namespace)
        try:
            response = self._open("GET", path, call, query, read_s=seconds + 30.0, is_whole=False)
        except ClusterError as error:
            if error.status == 410:  # what was listed is too old already
                return
            raise
        for line in stream_lines(response):
            event = _decoded(line, call)
            if event.get("type") == "ERROR":
                return
            yield event["type"], event["object"]

    def apply(self, wanted: Object, *, dry_run: bool = False, force: bool = False) -> Applied:
        """Make an object so, by server-side apply; what is so already is left unchanged.

        Fields that another field manager has set otherwise are a FieldConflictError unless `force`;
        those that sweepctl itself patched (by `scale`) are taken back.
        """
        name, namespace = wanted["metadata"]["name"], wanted["metadata"].get("namespace")
        before = self.get(wanted["kind"], name, namespace)
        resource = RESOURCES[wanted["kind"]]
        call = self._call("patch", resource, name, namespace)
        if before is not None and before["metadata"].get("deletionTimestamp"):
            raise ClusterError(
                f"{call.what} is still being deleted",
                "run the same command again when it is gone",
                status=409,
            )
        path = resource.path(namespace, name)

        def send(force: bool) -> tuple[Object, tuple[str, ...]]:
            query = {"force": str(force).lower()}
            return self._change("PATCH", path, call, wanted, dry_run, query, kind=_APPLY)

        try:
            after, warnings = send(force)
        except FieldConflictError as error:
            if set(error.owners.values()) != {FIELD_MANAGER}:
                raise
            after, warnings = send(True)
        outcome = Outcome.UNCHANGED
        if before is None:
            outcome = Outcome.CREATED
        elif _content(before) != _content(after):
            outcome = Outcome.CONFIGURED
        return Applied(outcome, after, warnings)

    def create(self, wanted: Object, *, dry_run: bool = False) -> Object:
        """Create an object; not repeated when the connection breaks."""
        name, namespace = wanted["metadata"].get("name"), wanted["metadata"].get("namespace")
        resource = RESOURCES[wanted["kind"]]
        call = self._call("create", resource, name, namespace)
        path = resource.path(namespace)
        return self._change("POST", path, call, wanted, dry_run, attempts=1)[0]

    def patch(
        self,
        kind: str | Resource,
        name: str,
        patch: Mapping[str, Any],
        namespace: str | None = None,
        *,
        dry_run: bool = False,
    ) -> Object:
        """Change fields of an object by one merge patch."""
        resource = RESOURCES[kind] if isinstance(kind, str) else kind
        call = self._call("patch", resource, name, namespace)
        path = resource.path(namespace, name)
        return self._change("PATCH", path, call, patch, dry_run, kind=_MERGE)[0]

    def delete(
        self, kind: str, name: str, namespace: str | None = None, *, dry_run: bool = False
    ) -> bool:
        """Delete an object, and in the background what it owns; False when there was none."""
        resource = RESOURCES[kind]
        call = self._call("delete", resource, name, namespace)
        query = {"propagationPolicy": "Background", **({"dryRun": "All"} if dry_run else {})}
        try:
            self.send("DELETE", resource.path(namespace, name), call, query)
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    def log(
        self,
        pod: str,
        namespace: str,
        container: str,
        *,
        follow: bool,
        since_s: float | None = None,
    ) -> Iterator[str]:
        """Give a container's lines, each behind the time at which it was written."""
        call = Call("get", "pods/log", "pod", pod, namespace, self.server)
        query = {"container": container, "follow": str(follow).lower(), "timestamps": "true"}
        if since_s is not None:
            query["sinceSeconds"] = str(max(1, math.ceil(since_s)))
        path = RESOURCES["Pod"].path(namespace, pod, "log")
        read_s = _STREAM_S if follow else _READ_S
        return stream_lines(self._open("GET", path, call, query, read_s=read_s, is_whole=False))

    def may(self, access: Access, namespace: str | None) -> bool:
        """Ask the API whether this user may do something (SelfSubjectAccessReview)."""
        attributes = {
            "verb": access.verb,
            "resource": access.resource,
            "group": access.group,
            "subresource": access.subresource,
            **({"namespace": namespace} if namespace else {}),
        }
        answer = self._review("SelfSubjectAccessReview", {"resourceAttributes": attributes})
        return bool(answer["status"].get("allowed"))

    def user(self) -> str | None:
        """Give the name by which the API knows this user, if it tells."""
        try:
            answer = self._review("SelfSubjectReview", {})
        except ClusterError:
            return None
        return (answer["status"].get("userInfo") or {}).get("username")

    def version(self) -> str:
        """Give the version of the Kubernetes API."""
        call = Call("get", "version", "version", None, None, self.server)
        return str(self.send("GET", "/version", call)["gitVersion"])

    def api_groups(self) -> dict[str, str]:
        """Give the API groups that the cluster serves, each with its preferred version."""
        call = Call("get", "apis", "apis", None, None, self.server)
        groups = self.send("GET", "/apis", call)["groups"]
        return {group["name"]: group["preferredVersion"]["version"] for group in groups}

    def send(
        self,
        method: str,
        path: str,
        call: Call,
        query: Mapping[str, str | None] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        attempts: int = _ATTEMPTS,
    ) -> Object:
        """Send a request of any kind to a path of the API and give its answer."""
        return _decoded(
            self._open(method, path, call, query, body=body, attempts=attempts).data, call
        )

    def _review(self, kind: str, spec: Object) -> Object:
        resource = RESOURCES[kind]
        call = self._call("create", resource, None, None)
        version = f"{resource.group}/{resource.version}"
        body = {"apiVersion": version, "kind": kind, "spec": spec}
        return self.send("POST", resource.path(None), call, body=body)

    def _call(self, verb: str, resource: Resource, name: str | None, namespace: str | None) -> Call:
        return Call(verb, resource.full_name, resource.kind, name, namespace, self.server)

    def _list(
        self, resource: Resource, namespace: str | None, selector: str | None, fields: str | None
    ) -> Object:
        query = {"labelSelector": selector, "fieldSelector": fields}
        call = self._call("list", resource, None, namespace)
        return self.send("GET", resource.path(namespace), call, query)

    def _change(
        self,
        method: str,
        path: str,
        call: Call,
        body: Mapping[str, Any],
        dry_run: bool,
        query: Mapping[str, str] | None = None,
        *,
        kind: str = "application/json",
        attempts: int = _ATTEMPTS,
    ) -> tuple[Object, tuple[str, ...]]:
        query = {**(query or {}), "fieldManager": FIELD_MANAGER}
        if dry_run:
            query["dryRun"] = "All"
        response = self._open(method, path, call, query, body=body, kind=kind, attempts=attempts)
        return _decoded(response.data, call), _warnings(response.headers)

    def _open(
        self,
        method: str,
        path: str,
        call: Call,
        query: Mapping[str, str | None] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
        read_s: float = _READ_S,
        attempts: int = _ATTEMPTS,
        is_whole: bool = True,
    ) -> Any:
        delay_s = _FIRST_DELAY_S
        pairs = [(key, value) for key, value in (query or {}).items() if value is not None]

        def send() -> Any:
            self.requests += 1
            response = self._dynamic.request(
                method,
                path,
                body=body,
                query_params=list(pairs),
                header_params={},
                content_type=kind,
                serialize=False,
                _request_timeout=(_CONNECT_S, read_s),
            )
            if is_whole:
                response.data  # noqa: B018 - read here, where a connection that breaks is known
            return response

        for attempt in range(1, attempts + 1):
            try:
                return _translated(send, call)
            except ClusterError as error:
                if not error.is_transient or attempt == attempts:
                    raise
                wait_s = max(delay_s, error.retry_after_s or 0.0)
            self._sleep(min(wait_s, _LONGEST_DELAY_S))
            delay_s *= 3
        raise AssertionError("unreachable")


def dynamic_client(client: Any) -> Any:
    """Give the official dynamic client, without its search for what the API serves."""
    from kubernetes.dynamic import DynamicClient

    make: Any = DynamicClient  # it has no types
    return make(client, discoverer=lambda *_: None)


def stream_lines(response: Any) -> Iterator[str]:
    """Give the lines of an open answer as they come; a broken connection is a ClusterError."""
    import urllib3

    rest = b""
    try:
        while block := response.read1():
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ClusterError(f"the stream broke off: {short_reason(error)}") from error
    finally:
        response.close()
    if rest:
        yield rest.decode("utf-8", "replace")


def _translated(send: Callable[[], T], call: Call) -> T:
    import urllib3
    from kubernetes.client.exceptions import ApiException

    try:
        return send()
    except ApiException as error:
        if not error.status:
            raise unreachable(call.server, f"TLS: {first_line(error.reason)}") from None
        headers = error.headers or {}
        retry_after = str(headers.get("Retry-After") or "")
        raise explain(
            int(error.status),
            error.body or "",
            call,
            float(retry_after) if retry_after.isdigit() else None,
        ) from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise unreachable(call.server, short_reason(error)) from None


def _decoded(text: str | bytes, call: Call) -> Object:
    try:
        answer: Object = json.loads(text)
    except ValueError:
        raise SetupError(
            f"{call.server} is no Kubernetes API: it answered no JSON to {call.verb} {call.what}",
            "a proxy or a log-in page may be in between; does kubectl work? try: kubectl version",
        ) from None
    return answer


def _created(item: Object) -> str:
    return str(item["metadata"].get("creationTimestamp") or "")


def _content(seen: Object) -> Object:
    """Take from an object what an apply can change; the API counts and dates every write."""
    kept = copy.deepcopy(seen)
    for key in ("managedFields", "resourceVersion", "generation"):
        kept["metadata"].pop(key, None)
    kept.pop("status", None)
    return kept


def _warnings(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Read the warnings that the API sends with an answer: `299 - "text"` (RFC 7234 §5.5)."""
    values = headers.getlist("Warning") if hasattr(headers, "getlist") else []
    texts = [value.partition('"')[2].rpartition('"')[0] for value in values]
    return tuple(text.replace('\\"', '"') for text in texts if text)
