"""The kinds of Kubernetes objects that sweepctl touches, and where the official client keeps each.

Pure: a table, and the names by which RBAC knows its entries.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """Where a kind lives in the official client: its class there, and the stem of its methods."""

    kind: str
    api: str
    stem: str
    plural: str
    group: str = ""
    is_namespaced: bool = True

    @property
    def full_name(self) -> str:
        """Name the resource as RBAC rules and kubectl do: `jobs.batch`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


RESOURCES = {
    resource.kind: resource
    for resource in (
        Resource("ConfigMap", "CoreV1Api", "config_map", "configmaps"),
        Resource("Event", "CoreV1Api", "event", "events"),
        Resource(
            "PersistentVolumeClaim",
            "CoreV1Api",
            "persistent_volume_claim",
            "persistentvolumeclaims",
        ),
        Resource("Pod", "CoreV1Api", "pod", "pods"),
        Resource("ResourceQuota", "CoreV1Api", "resource_quota", "resourcequotas"),
        Resource("Secret", "CoreV1Api", "secret", "secrets"),
        Resource("Service", "CoreV1Api", "service", "services"),
        Resource("ServiceAccount", "CoreV1Api", "service_account", "serviceaccounts"),
        Resource("Job", "BatchV1Api", "job", "jobs", "batch"),
        Resource("StatefulSet", "AppsV1Api", "stateful_set", "statefulsets", "apps"),
        Resource(
            "NetworkPolicy",
            "NetworkingV1Api",
            "network_policy",
            "networkpolicies",
            "networking.k8s.io",
        ),
        Resource(
            "PodDisruptionBudget",
            "PolicyV1Api",
            "pod_disruption_budget",
            "poddisruptionbudgets",
            "policy",
        ),
        Resource("Namespace", "CoreV1Api", "namespace", "namespaces", "", False),
        Resource("Node", "CoreV1Api", "node", "nodes", "", False),
        Resource(
            "RuntimeClass", "NodeV1Api", "runtime_class", "runtimeclasses", "node.k8s.io", False
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
