"""The kinds of Kubernetes objects that sweepctl touches, where the API keeps each, and what to ask.

Pure: a table and the names by which RBAC knows its entries.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """Where the API keeps a kind."""

    kind: str
    plural: str
    group: str = ""
    version: str = "v1"
    is_namespaced: bool = True

    @property
    def full_name(self) -> str:
        """Name the resource as RBAC rules and kubectl do: `jobs.batch`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None, name: str | None = None, sub: str = "") -> str:
        """Give the path of one object, or of all of a namespace, or of all there are."""
        parts = ["apis", self.group] if self.group else ["api"]
        parts.append(self.version)
        if self.is_namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, sub) if part]
        return "/" + "/".join(parts)


RESOURCES = {
    resource.kind: resource
    for resource in (
        Resource("ConfigMap", "configmaps"),
        Resource("Event", "events"),
        Resource("PersistentVolumeClaim", "persistentvolumeclaims"),
        Resource("Pod", "pods"),
        Resource("Secret", "secrets"),
        Resource("Service", "services"),
        Resource("ServiceAccount", "serviceaccounts"),
        Resource("Job", "jobs", "batch"),
        Resource("StatefulSet", "statefulsets", "apps"),
        Resource("NetworkPolicy", "networkpolicies", "networking.k8s.io"),
        Resource("Ingress", "ingresses", "networking.k8s.io"),
        Resource("HTTPRoute", "httproutes", "gateway.networking.k8s.io"),
        Resource("ServiceMonitor", "servicemonitors", "monitoring.coreos.com"),
        Resource("PodDisruptionBudget", "poddisruptionbudgets", "policy"),
        Resource("Namespace", "namespaces", is_namespaced=False),
        Resource("Node", "nodes", is_namespaced=False),
        Resource("RuntimeClass", "runtimeclasses", "node.k8s.io", is_namespaced=False),
        Resource(
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
            "authorization.k8s.io",
            is_namespaced=False,
        ),
        Resource(
            "SelfSubjectReview",
            "selfsubjectreviews",
            "authentication.k8s.io",
            is_namespaced=False,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Access:
    """Something that a user may or may not do: for SelfSubjectAccessReview."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""

    @property
    def full_name(self) -> str:
        """Name the resource as RBAC rules do: `jobs.batch`, `pods/log`."""
        name = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{name}/{self.subresource}" if self.subresource else name
