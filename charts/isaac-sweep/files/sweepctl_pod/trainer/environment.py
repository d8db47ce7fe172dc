"""Variables of a trainer's environment: threads and a port for its processes, Vulkan's drivers.

NVIDIA's own workflow for clusters does the same as root (Isaac Lab's
docker/cluster/osmo_multi_gpu_workflow.yaml). What the image or the user has set stays.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sweepctl_pod.trainer.launchers import meets_alone, processes_of

THREAD_LIBRARIES = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
_VULKAN = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
"""The list of Vulkan's drivers, and what loaders before 1.3.207 call it."""


def with_threads(
    environ: Mapping[str, str], argv: Sequence[str], count_gpus: Callable[[], int]
) -> dict[str, str]:
    """Share the CPUs among a node's processes: each would start as many threads as there are CPUs.

    Outside a Job, which names the CPUs it asked for, a single process is left as it is.
    """
    asked = environ.get("SWEEPCTL_CPUS", "")
    here = len(os.sched_getaffinity(0))
    said = processes_of(argv)
    processes = int(said) if said.isdigit() else here if said == "cpu" else count_gpus()
    if not asked.isdigit() and processes < 2:
        return dict(environ)
    threads = max(1, (int(asked) if asked.isdigit() else here) // max(1, processes))
    return {**{f"{name}_NUM_THREADS": str(threads) for name in THREAD_LIBRARIES}, **environ}


def with_port(environ: Mapping[str, str], argv: Sequence[str]) -> dict[str, str]:
    """Give the processes that torchrun starts a free port at which they meet.

    Its own is 29500 for all: of two trainings on a machine, or on a node whose network their pods
    share, one would end with EADDRINUSE. PET_ is how torchrun's options are called in the
    environment (torch/distributed/argparse_util.py); what the command says stands before it.
    """
    if not meets_alone(argv, environ.get("PET_NNODES", "1")):
        return dict(environ)
    with socket.socket() as free:
        free.bind(("", 0))
        return {"PET_MASTER_PORT": str(free.getsockname()[1]), **environ}


def with_vulkan(environ: Mapping[str, str], root: Path = Path("/")) -> dict[str, str]:
    """Hide the system's Vulkan drivers from a pod's trainer that has NVIDIA's beside them.

    The container runtime puts NVIDIA's below /etc; Isaac Sim may choose one of the system's.
    """
    is_pod = bool(environ.get("SWEEPCTL_JOB_UID"))
    if not is_pod or any(environ.get(name) for name in (*_VULKAN, "VK_ADD_DRIVER_FILES")):
        return dict(environ)
    ours = sorted((root / "etc/vulkan/icd.d").glob("*.json"))
    systems = any((root / "usr/share/vulkan/icd.d").glob("*.json"))
    if not systems or not any(file.name.startswith("nvidia") for file in ours):
        return dict(environ)
    drivers = ":".join(map(str, ours))
    return {**environ, **dict.fromkeys(_VULKAN, drivers)}
