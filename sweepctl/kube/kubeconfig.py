"""Which cluster the user means: kubectl's own configuration, or the pod's own cluster.

Opens a Cluster, or says what is wrong with the configuration; asks the cluster nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweepctl.kube.client import Cluster, Object
from sweepctl.kube.errors import SetupError, first_line
from sweepctl_pod.errors import UsageError, nearest

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)


def open_cluster(
    context: str | None = None,
    namespace: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Cluster:
    """Open the cluster that kubectl would use; inside a pod without kubeconfig, its own."""
    from kubernetes import client, config

    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise UsageError(
            f"namespace '{namespace}': expected lower-case letters, digits and '-', 63 at most",
            "the namespaces there are: kubectl get namespaces",
        )
    configuration = client.Configuration()
    path = _search_path(environ)
    if not _has_file(path):
        return _own_cluster(config, client, configuration, context, namespace, path, environ)
    known, current = _read_contexts(config, path)
    chosen = _choose(known, context, current, path)
    name = str(chosen["name"])
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call] # the client has no types here
            config_file=path, context=name, client_configuration=configuration
        )
    except (config.ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(
            f"the context '{name}' in {path} cannot be used: {first_line(error)}",
            "does kubectl work? try: kubectl auth whoami",
        ) from error
    own = (chosen.get("context") or {}).get("namespace")
    return Cluster(
        _client(client, configuration),
        context=name,
        namespace=namespace or own or "default",
    )


def has_cluster(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether this user is configured for any cluster, without asking it."""
    return _has_file(_search_path(environ)) or "KUBERNETES_SERVICE_HOST" in environ


def _search_path(environ: Mapping[str, str]) -> str:
    return environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")


def _has_file(path: str) -> bool:
    return any(Path(file).expanduser().is_file() for file in path.split(os.pathsep) if file)


def _own_cluster(
    config: Any,
    client: Any,
    configuration: Any,
    context: str | None,
    namespace: str | None,
    path: str,
    environ: Mapping[str, str],
) -> Cluster:
    if context is not None or "KUBERNETES_SERVICE_HOST" not in environ:
        named = "KUBECONFIG names" if environ.get("KUBECONFIG") else "there is no"
        raise SetupError(
            f"no kubeconfig: {named} {path}"
            + (", which is no file" if environ.get("KUBECONFIG") else ""),
            "sweepctl uses kubectl's configuration: set KUBECONFIG to the file of your cluster",
        )
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise SetupError(
            f"no kubeconfig, and this pod has no service account: {first_line(error)}"
        ) from error
    own = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return Cluster(
        _client(client, configuration),
        context="in-cluster",
        namespace=namespace or (own.read_text().strip() if own.is_file() else "default"),
    )


def _choose(known: list[Object], context: str | None, current: str | None, path: str) -> Object:
    """Find the context that is asked for, else the current one, which a kubeconfig may lack."""
    names = [str(entry["name"]) for entry in known]
    wanted = context or current
    has = f"it has: {', '.join(names)}"
    if not wanted:
        raise SetupError(f"{path} has no current context", f"name one with --context; {has}")
    if wanted not in names:
        close = nearest(wanted, names)
        raise SetupError(
            f"no context '{wanted}' in {path}" + ("" if context else ", and it is the current one"),
            (f"did you mean {close}? " if close else "") + has,
        )
    return known[names.index(wanted)]


def _read_contexts(config: Any, path: str) -> tuple[list[Object], str | None]:
    import yaml

    try:
        merged = config.kube_config.KubeConfigMerger(path).config
        if merged is None:
            raise config.ConfigException("it is empty")
        if not merged.safe_get("contexts"):
            raise config.ConfigException("it has no contexts")
        known = [entry.value for entry in merged["contexts"]]
        current = merged.safe_get("current-context")
    except (config.ConfigException, yaml.YAMLError, OSError, TypeError, KeyError) as error:
        is_other_text = isinstance(error, TypeError)
        raise SetupError(
            f"{path} is no usable kubeconfig" + ("" if is_other_text else f": {first_line(error)}"),
            "look at it with: kubectl config get-contexts",
        ) from error
    return known, current


def _client(client: Any, configuration: Any) -> Any:
    configuration.retries = False
    configuration.connection_pool_maxsize = 64
    return client.ApiClient(configuration)
