"""The Secret with the API key: made from the user's own login, read back to talk to the server.

The key itself is in no object but the Secret, in no argv, no message and no repr.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweepctl.kube.client import Cluster, Outcome
from sweepctl.kube.errors import ClusterError
from sweepctl.values.settings import Values
from sweepctl_pod.errors import UsageError
from sweepctl_pod.wandb.connection import connection_from_environ, how_to_log_in

_KEY_BYTES = 20
"""Forty hexadecimal digits: the wandb client wants 40 characters, and counts those after a dash."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """Where the API key is: never the key itself."""

    name: str
    key: str


def secret_place(values: Values) -> SecretKey:
    """Give where the settings say that the key is."""
    return SecretKey(values.at("wandb.secretName"), values.at("wandb.secretKey"))


def read_key(cluster: Cluster, place: SecretKey, namespace: str) -> str | None:
    """Read an API key from its Secret; None when there is none or this user may not read it."""
    try:
        secret = cluster.get("Secret", place.name, namespace)
    except ClusterError as error:
        if error.is_forbidden:
            return None
        raise
    encoded = ((secret or {}).get("data") or {}).get(place.key)
    words = base64.b64decode(encoded).decode("utf-8", "replace").split() if encoded else []
    return words[0] if words else None


def make_secret(
    cluster: Cluster,
    values: Values,
    namespace: str,
    labels: Mapping[str, str],
    environ: Mapping[str, str],
) -> Outcome:
    """Make the Secret from the user's own login, or with a random key for the embedded server.

    One that exists is left as it is: others may use it.
    """
    place = secret_place(values)
    if cluster.get("Secret", place.name, namespace) is not None:
        return Outcome.UNCHANGED
    is_embedded = values.at("server.enabled")
    key = random_key() if is_embedded else own_key(values, environ)
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": place.name, "namespace": namespace, "labels": dict(labels)},
            "type": "Opaque",
            "data": {place.key: base64.b64encode(key.encode()).decode()},
        }
    )
    return Outcome.CREATED


def random_key() -> str:
    """Make a key for the embedded server that every wandb client takes for one."""
    return secrets.token_hex(_KEY_BYTES)


def own_key(values: Values, environ: Mapping[str, str]) -> str:
    """Give the key of the user's own login to the server that the settings name."""
    url = values.at("wandb.baseUrl")
    named = {**environ, **({"WANDB_BASE_URL": url} if url else {})}
    connection = connection_from_environ(named, Path.home())
    if connection.api_key is None:
        raise UsageError(
            f"--create-secret: there is no W&B login for {connection.base_url} here",
            how_to_log_in(connection.base_url, environ),
        )
    return connection.api_key
