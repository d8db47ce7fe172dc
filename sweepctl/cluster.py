"""What sweepctl needs of Kubernetes, over the official client; the client's errors end here.

Objects are plain dictionaries as the API sends them: lists are never made into the client's models,
which would cost more than the request. Nothing is decided here about sweeps.
"""

from __future__ import annotations

import copy
import enum
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sweepctl.cluster_errors import (
    Call,
    ClusterError,
    FieldConflictError,
    explain,
    unreachable,
)
from sweepctl.cluster_kinds import RESOURCES, Access, Resource

FIELD_MANAGER = "sweepctl"

Object = dict[str, Any]
T = TypeVar("T")

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
        self._sleep = sleep
        self._apis: dict[str, Any] = {}
        self.requests = 0

    @property
    def server(self) -> str:
        """The address of the Kubernetes API."""
        return str(self.client.configuration.host)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Give one object, or None when there is none of that name."""
        resource, call = self._call("get", kind, name, namespace)
        where = {"name": name, **_namespaced(resource, call)}
        try:
            return self._json(self._method(resource, "read"), call, where)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        selector: str | None = None,
        fields: str | None = None,
        all_namespaces: bool = False,
    ) -> list[Object]:
        """List objects of a kind in one request."""
        resource, call = self._call("list", kind, None, None if all_namespaces else namespace)
        return list(self._list(resource, call, selector, fields, all_namespaces)["items"])

    def watch(
        self, kind: str, namespace: str, *, selector: str, seconds: int = 300
    ) -> Iterator[tuple[str, Object]]:
        """Give every object of a kind as ADDED, oldest first, then what happens to them.

        Ends when `seconds` are over or the API ends it: call again.
        """
        resource, call = self._call("watch", kind, None, namespace)
        listed = self._list(resource, call, selector, None, False)
        for item in sorted(listed["items"], key=_created):
            yield "ADDED", item
        where = {
            "namespace": namespace,
            "label_selector": selector,
            "resource_version": listed["metadata"]["resourceVersion"],
            "timeout_seconds": seconds,
            "watch": True,
        }
        response = self._open(self._method(resource, "list"), call, where, read_s=seconds + 30.0)
        for line in stream_lines(response):
            event = json.loads(line)
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
        resource, call = self._call("patch", wanted["kind"], name, namespace)

        def send(force: bool) -> tuple[Object, tuple[str, ...]]:
            where = {"name": name, **_namespaced(resource, call), "force": force}
            return self._change(
                self._method(resource, "patch"),
                call,
                {**where, "body": wanted, "_content_type": "application/apply-patch+yaml"},
                dry_run,
            )

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
        resource, call = self._call("create", wanted["kind"], name, namespace)
        where = {**_namespaced(resource, call), "body": wanted}
        return self._change(self._method(resource, "create"), call, where, dry_run, attempts=1)[0]

    def patch(
        self,
        kind: str,
        name: str,
        patch: Mapping[str, Any],
        namespace: str | None = None,
        *,
        dry_run: bool = False,
    ) -> Object:
        """Change fields of an object by one merge patch."""
        resource, call = self._call("patch", kind, name, namespace)
        where = {
            "name": name,
            **_namespaced(resource, call),
            "body": dict(patch),
            "_content_type": "application/merge-patch+json",
        }
        return self._change(self._method(resource, "patch"), call, where, dry_run)[0]

    def delete(
        self, kind: str, name: str, namespace: str | None = None, *, dry_run: bool = False
    ) -> bool:
        """Delete an object, and in the background what it owns; False when there was none."""
        resource, call = self._call("delete", kind, name, namespace)
        where = {
            "name": name,
            **_namespaced(resource, call),
            "propagation_policy": "Background",
            **({"dry_run": "All"} if dry_run else {}),
        }
        try:
            self._json(self._method(resource, "delete"), call, where)
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    def custom(
        self, verb: str, group: str, version: str, plural: str, namespace: str, **where: Any
    ) -> Object:
        """List or patch objects of an add-on, such as Kueue's Workloads."""
        call = Call(verb, f"{plural}.{group}", plural, where.get("name"), namespace, self.server)
        method = getattr(self._api("CustomObjectsApi"), f"{verb}_namespaced_custom_object")
        place = {"group": group, "version": version, "namespace": namespace, "plural": plural}
        return self._json(method, call, {**place, **where})

    def log(
        self,
        pod: str,
        namespace: str,
        container: str,
        *,
        follow: bool,
        since_s: float | None = None,
        tail: int | None = None,
    ) -> Iterator[str]:
        """Give a container's lines, each behind the time at which it was written."""
        _, call = self._call("get", "Pod", pod, namespace)
        call = Call(call.verb, "pods/log", "pod", pod, namespace, self.server)
        where: dict[str, Any] = {
            "name": pod,
            "namespace": namespace,
            "container": container,
            "follow": follow,
            "timestamps": True,
        }
        if since_s is not None:
            where["since_seconds"] = max(1, int(since_s) + 1)
        if tail is not None:
            where["tail_lines"] = tail
        method = self._api("CoreV1Api").read_namespaced_pod_log
        response = self._open(method, call, where, read_s=_STREAM_S if follow else _READ_S)
        return stream_lines(response)

    def may(self, access: Access, namespace: str | None) -> bool:
        """Ask the API whether this user may do something (SelfSubjectAccessReview)."""
        call = Call(
            "create", "selfsubjectaccessreviews.authorization.k8s.io", "review", None, None,
            self.server,
        )  # fmt: skip
        attributes = {
            "verb": access.verb,
            "resource": access.resource,
            "group": access.group,
            "subresource": access.subresource,
            **({"namespace": namespace} if namespace else {}),
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        method = self._api("AuthorizationV1Api").create_self_subject_access_review
        return bool(self._json(method, call, {"body": body})["status"].get("allowed"))

    def user(self) -> str | None:
        """Give the name by which the API knows this user, if it tells."""
        call = Call("create", "selfsubjectreviews", "review", None, None, self.server)
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            method = self._api("AuthenticationV1Api").create_self_subject_review
            answer = self._json(method, call, {"body": body})
        except (ClusterError, AttributeError):
            return None
        return (answer["status"].get("userInfo") or {}).get("username")

    def version(self) -> str:
        """Give the version of the Kubernetes API."""
        call = Call("get", "version", "version", None, None, self.server)
        return str(self._json(self._api("VersionApi").get_code, call, {})["gitVersion"])

    def api_groups(self) -> dict[str, str]:
        """Give the API groups that the cluster serves, each with its preferred version."""
        call = Call("get", "apis", "apis", None, None, self.server)
        answer = self._json(self._api("ApisApi").get_api_versions, call, {})
        return {group["name"]: group["preferredVersion"]["version"] for group in answer["groups"]}

    def _call(
        self, verb: str, kind: str, name: str | None, namespace: str | None
    ) -> tuple[Resource, Call]:
        resource = RESOURCES[kind]
        return resource, Call(verb, resource.full_name, kind, name, namespace, self.server)

    def _list(
        self,
        resource: Resource,
        call: Call,
        selector: str | None,
        fields: str | None,
        all_namespaces: bool,
    ) -> Object:
        where: dict[str, Any] = {} if all_namespaces else _namespaced(resource, call)
        if selector:
            where["label_selector"] = selector
        if fields:
            where["field_selector"] = fields
        method = (
            getattr(self._api(resource.api), f"list_{resource.stem}_for_all_namespaces")
            if all_namespaces
            else self._method(resource, "list")
        )
        return self._json(method, call, where)

    def _method(self, resource: Resource, verb: str) -> Any:
        scope = "namespaced_" if resource.is_namespaced else ""
        return getattr(self._api(resource.api), f"{verb}_{scope}{resource.stem}")

    def _api(self, name: str) -> Any:
        if name not in self._apis:
            from kubernetes import client

            self._apis[name] = getattr(client, name)(self.client)
        return self._apis[name]

    def _change(
        self,
        method: Any,
        call: Call,
        where: dict[str, Any],
        dry_run: bool,
        attempts: int = _ATTEMPTS,
    ) -> tuple[Object, tuple[str, ...]]:
        where = {**where, "field_manager": FIELD_MANAGER}
        if dry_run:
            where["dry_run"] = "All"
        response = self._open(method, call, where, attempts=attempts)
        return json.loads(response.data), _warnings(response.headers)

    def _json(self, method: Any, call: Call, where: Mapping[str, Any]) -> Object:
        answer: Object = json.loads(self._open(method, call, where).data)
        return answer

    def _open(
        self,
        method: Any,
        call: Call,
        where: Mapping[str, Any],
        *,
        read_s: float = _READ_S,
        attempts: int = _ATTEMPTS,
    ) -> Any:
        delay_s = _FIRST_DELAY_S
        for attempt in range(1, attempts + 1):
            try:
                self.requests += 1
                return _translated(
                    lambda: method(
                        **where, _preload_content=False, _request_timeout=(_CONNECT_S, read_s)
                    ),
                    call,
                )
            except ClusterError as error:
                if not error.is_transient or attempt == attempts:
                    raise
                wait_s = max(delay_s, error.retry_after_s or 0.0)
            self._sleep(min(wait_s, _LONGEST_DELAY_S))
            delay_s *= 3
        raise AssertionError("unreachable")


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
        raise ClusterError(f"the stream broke off: {_reason(error)}") from error
    finally:
        response.close()
    if rest:
        yield rest.decode("utf-8", "replace")


def first_line(error: object) -> str:
    """Give the first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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
        raise unreachable(call.server, _reason(error)) from None


def _created(item: Object) -> str:
    return str(item["metadata"].get("creationTimestamp") or "")


def _namespaced(resource: Resource, call: Call) -> dict[str, Any]:
    return {"namespace": call.namespace} if resource.is_namespaced else {}


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


def _reason(error: object) -> str:
    text = first_line(error)
    for known in (
        "Connection refused",
        "timed out",
        "Name or service not known",
        "No route to host",
        "Network is unreachable",
        "Temporary failure in name resolution",
        "certificate verify failed",
    ):
        if known.lower() in text.lower():
            return known.lower()
    return text
