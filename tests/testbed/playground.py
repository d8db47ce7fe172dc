"""A namespace in which the example sweep trains, made by `make testbed-up`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.testbed.cluster import Cluster, restricted_namespace
from tests.testbed.layout import Bed
from tests.testbed.server_image import offer_server_image
from tests.testbed.trainer import offer_trainer

NAMESPACE = "sweeps"
VALUES = Path(__file__).with_name("values.yaml")


def prepare(cluster: Cluster, bed: Bed, namespace: str, environ: Mapping[str, str]) -> None:
    """Give a namespace under Pod Security "restricted" all that `values.yaml` names, and a key.

    Raises:
        BedUnavailable: when the trainer's environment is not made yet.
    """
    cluster.apply(restricted_namespace(namespace))
    offer_trainer(cluster, bed, namespace, environ)
    offer_server_image(cluster, bed)
    if cluster.run("kubectl", "-n", namespace, "get", "secret", "wandb").returncode != 0:
        key = {"apiKey": secrets.token_hex(20)}
        metadata = {"name": "wandb"}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": key}
        cluster.apply(secret, namespace=namespace)
    config = yaml.safe_load(bed.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = namespace
    bed.sweeps_kubeconfig.write_text(yaml.safe_dump(config))
    bed.sweeps_kubeconfig.chmod(0o600)


def settings(bed: Bed) -> dict[str, str]:
    """Give the environment in which kubectl, helm and sweepctl use that namespace."""
    return {"KUBECONFIG": str(bed.sweeps_kubeconfig), "SWEEPCTL_VALUES": str(VALUES)}
