"""What runs in one node: containerd, the kubelet, kube-proxy and the GPU device plug-in.

A node sees the usual paths (/var/lib/kubelet, /run/containerd, /var/log/pods), each a folder of its
own: the kubelet's socket for device plug-ins, for one, cannot be moved. Every flag here was needed
or keeps the host as it was. Pure, but for `write_files`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.testbed.layout import (
    CONTROL_PLANE_IP,
    DNS_DOMAIN,
    GPU_RESOURCE,
    PAUSE_IMAGE,
    POD_CIDR,
    TRAINER_HOST_PATH,
    Bed,
    Node,
)
from tests.testbed.machine import Plan, Service
from tests.testbed.requirements import CNI_BIN

_CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
_KUBELET_SOCKET = "/var/lib/kubelet/device-plugins/kubelet.sock"
_ON_DISK = {
    "kubelet": "/var/lib/kubelet",
    "containerd": "/var/lib/containerd",
    "log": "/var/log",
}

# The kubelet sets these for the whole machine (setupKernelTunables in container_manager_linux.go).
# Each node gets files of its own in their place, which already say what it wants.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


def write_files(bed: Bed, node: Node, programs: Mapping[str, Path]) -> None:
    """Write the node's folders, configuration and plan."""
    root = bed.node_dir(node)
    for folder in (*_ON_DISK, "cni", "kernel"):
        (root / folder).mkdir(parents=True)
    (root / "resolv.conf").touch()
    fstab(bed, node).touch()
    (root / "containerd.toml").write_text(_containerd(root, programs))
    (root / "cni" / "10-pods.conflist").write_text(json.dumps(_cni(node)))
    (root / "kubelet.json").write_text(json.dumps(_kubelet(bed, node), indent=1))
    (root / "kube-proxy.json").write_text(json.dumps(_kube_proxy(bed, node), indent=1))
    for setting, value in _KERNEL_SETTINGS.items():
        (root / "kernel" / setting.replace("/", ".")).write_text(f"{value}\n")
    (root / "plan.json").write_text(plan(bed, node, programs).to_json())


def fstab(bed: Bed, node: Node) -> Path:
    """What is mounted in a node besides its own folders, at each of its starts."""
    return bed.node_dir(node) / "fstab"


def plan(bed: Bed, node: Node, programs: Mapping[str, Path]) -> Plan:
    """Return the plan of the node's machine."""
    root = bed.node_dir(node)
    certificate = f"{bed.certificates}/{node.name}"
    kubelet = (
        str(programs["kubelet"]),
        f"--config={root}/kubelet.json",
        f"--kubeconfig={bed.component_kubeconfig(node.name)}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.ip}",
        f"--node-labels=topology.kubernetes.io/zone=zone-{node.index},nvidia.com/gpu.present=true",
        f"--tls-cert-file={certificate}.crt",
        f"--tls-private-key-file={certificate}.key",
    )
    return Plan(
        hostname=node.name,
        setup=_setup(root),
        services=(
            Service(
                "containerd",
                (str(programs["containerd"]), f"--config={root}/containerd.toml"),
                env={"TMPDIR": "/run"},
            ),
            Service("kubelet", kubelet, after=f"unix:{_CONTAINERD_SOCKET}", env={"TMPDIR": "/run"}),
            Service(
                "kube-proxy",
                (str(programs["kube-proxy"]), f"--config={root}/kube-proxy.json"),
                after=f"unix:{_CONTAINERD_SOCKET}",
            ),
            Service(
                "deviceplugin",
                (
                    str(programs["deviceplugin"]),
                    f"-resource={GPU_RESOURCE}",
                    f"-node={node.name}",
                    f"-devices={node.gpus}",
                ),
                after=f"unix:{_KUBELET_SOCKET}",
            ),
        ),
        log_dir=str(root / "log"),
        status_file=str(root / "services.json"),
    )


def _setup(root: Path) -> tuple[tuple[str, ...], ...]:
    commands = ["mount -t tmpfs tmpfs /run", "mount -t tmpfs tmpfs /var/lib"]
    for folder, place in _ON_DISK.items():
        commands += [f"mkdir -p {place}", f"mount --bind {root}/{folder} {place}"]
    commands += [f"mkdir -p {TRAINER_HOST_PATH}", f"mount --all --fstab {root}/fstab"]
    for setting in _KERNEL_SETTINGS:
        source = f"{root}/kernel/{setting.replace('/', '.')}"
        commands.append(f"mount --bind {source} /proc/sys/{setting}")
    # Containers see what the kubelet mounts later; nothing of it reaches beyond this node.
    commands.append("mount --make-rshared /")
    return tuple(tuple(command.split()) for command in commands)


def _containerd(root: Path, programs: Mapping[str, Path]) -> str:
    return f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.internal.v1.opt",
  "io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{_CONTAINERD_SOCKET}"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
netns_mounts_under_state_dir = true
# Without CAP_SYS_RESOURCE a lower score than our own cannot be set, and no sandbox starts.
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{CNI_BIN}"]
conf_dir = "{root}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
# Else a shim of another version on PATH is taken before the one that belongs to this containerd.
runtime_path = "{programs["containerd-shim-runc-v2"]}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def _cni(node: Node) -> dict[str, object]:
    """Cables and routes only: a Service between pods of one node then needs no bridge filtering.

    No plug-in here enforces a NetworkPolicy: such objects are stored and do nothing.
    """
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni",
                    "ranges": [[{"subnet": node.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }


def _kubelet(bed: Bed, node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.ip,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{bed.certificates}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{_CONTAINERD_SOCKET}",
        "clusterDNS": [CONTROL_PLANE_IP],
        "clusterDomain": DNS_DOMAIN,
        "resolvConf": f"{bed.node_dir(node)}/resolv.conf",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"{bed.cgroup}/{node.name}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "protectKernelDefaults": True,
        "oomScoreAdj": 0,
        "healthzBindAddress": "127.0.0.1",
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        # A node that had too little memory takes pods again at once, not after five minutes.
        "evictionPressureTransitionPeriod": "5s",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "5s",
    }


def _kube_proxy(bed: Bed, node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(bed.component_kubeconfig("proxy"))},
        "hostnameOverride": node.name,
        "clusterCIDR": POD_CIDR,
        "bindAddress": node.ip,
        "healthzBindAddress": f"{node.ip}:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        # 0 leaves the machine's connection tracking as it is.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
