"""What a trainer finds around it: threads and a port for its processes, Vulkan's right drivers."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from sweepctl_pod.preflight import Gpus, gpu_count, seen_gpus
from sweepctl_pod.trainer.environment import THREAD_LIBRARIES, with_port, with_threads, with_vulkan

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("command", "environ", "threads"),
    [
        pytest.param("isaaclab train", {"SWEEPCTL_CPUS": "6"}, "6", id="one-process-has-all"),
        pytest.param(
            "isaaclab train_multigpu --nproc_per_node 2", {"SWEEPCTL_CPUS": "7"}, "3", id="divided"
        ),
        pytest.param(
            "isaaclab train_multigpu --task T", {"SWEEPCTL_CPUS": "8"}, "2", id="by-the-gpus"
        ),
        pytest.param(
            "torchrun --nproc_per_node=auto rsl_rl/train.py", {"SWEEPCTL_CPUS": "8"}, "2", id="auto"
        ),
        pytest.param(
            "torchrun --nproc_per_node 16 x.py", {"SWEEPCTL_CPUS": "8"}, "1", id="one-at-least"
        ),
        pytest.param("isaaclab train", {}, None, id="outside-a-job-one-is-left-as-it-is"),
        pytest.param(
            "torchrun --nproc_per_node 2 x.py", {}, str(max(1, HERE // 2)), id="outside-a-job"
        ),
        pytest.param("torchrun --nproc_per_node cpu x.py", {"SWEEPCTL_CPUS": ""}, "1", id="cpu"),
    ],
)
def test_threads_are_divided_among_the_processes(
    command: str, environ: Mapping[str, str], threads: str | None
) -> None:
    if threads is not None and "cpu" in command and HERE < 2:
        threads = None
    found = with_threads(environ, shlex.split(command), lambda: 4)
    assert {found.get(f"{name}_NUM_THREADS") for name in THREAD_LIBRARIES} == {threads}


def test_threads_that_are_set_stay() -> None:
    environ = {"SWEEPCTL_CPUS": "8", "OMP_NUM_THREADS": "5"}
    found = with_threads(environ, ["torchrun", "--nproc_per_node", "2", "x.py"], lambda: 0)
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"]) == ("5", "4")


@pytest.mark.parametrize(
    ("command", "environ", "port"),
    [
        ("isaaclab train --task T", {}, None),
        ("python train.py", {}, None),
        ("isaaclab train_multigpu --nproc_per_node 2 --task T", {}, "free"),
        ("torchrun --nproc_per_node=2 x.py", {}, "free"),
        ("torchrun x.py", {}, "free"),
        ("python -m torch.distributed.run --nnodes=1 x.py", {}, "free"),
        ("torchrun --nnodes 2 --nproc_per_node 2 x.py", {}, None),
        ("isaaclab train_multigpu --nnodes=2 --task T", {}, None),
        ("torchrun x.py", {"PET_NNODES": "2"}, None),
        ("torchrun --nnodes 1 x.py", {"PET_NNODES": "2"}, "free"),
        ("torchrun x.py", {"PET_MASTER_PORT": "29777"}, "29777"),
    ],
)
def test_trainings_of_several_processes_do_not_meet_at_one_port(
    command: str, environ: Mapping[str, str], port: str | None
) -> None:
    found = [with_port(environ, shlex.split(command)).get("PET_MASTER_PORT") for _ in range(3)]
    if port == "free":
        assert all(1024 <= int(each or 0) != 29500 for each in found)
    else:
        assert found == [port] * 3


def drivers(root: Path, *files: str) -> Path:
    for name in files:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root


NVIDIA = "etc/vulkan/icd.d/nvidia_icd.json"
SYSTEM = "usr/share/vulkan/icd.d/lvp_icd.x86_64.json"
POD = {"SWEEPCTL_JOB_UID": "1"}


def test_the_systems_vulkan_drivers_are_hidden_beside_nvidias(tmp_path: Path) -> None:
    root = drivers(tmp_path, NVIDIA, SYSTEM)
    found = with_vulkan(POD, root)
    assert found["VK_DRIVER_FILES"] == found["VK_ICD_FILENAMES"] == str(root / NVIDIA)


@pytest.mark.parametrize(
    ("files", "environ"),
    [
        pytest.param([SYSTEM], POD, id="the-systems-alone"),
        pytest.param([NVIDIA], POD, id="nvidias-alone"),
        pytest.param([SYSTEM, "etc/vulkan/icd.d/radeon.json"], POD, id="no-nvidia"),
        pytest.param(["usr/share/vulkan/icd.d/nvidia_icd.json", SYSTEM], POD, id="in-one-folder"),
        pytest.param([NVIDIA, SYSTEM], {}, id="no-pod"),
        pytest.param([NVIDIA, SYSTEM], {**POD, "VK_DRIVER_FILES": "/x"}, id="set"),
        pytest.param([NVIDIA, SYSTEM], {**POD, "VK_ICD_FILENAMES": "/x"}, id="set-by-the-old-name"),
        pytest.param([NVIDIA, SYSTEM], {**POD, "VK_ADD_DRIVER_FILES": "/x"}, id="added-to"),
    ],
)
def test_vulkan_drivers_are_left_alone_otherwise(
    files: list[str], environ: Mapping[str, str], tmp_path: Path
) -> None:
    assert with_vulkan(environ, drivers(tmp_path, *files)) == environ


@pytest.mark.parametrize(
    ("visible", "listed", "count"),
    [
        pytest.param("0,3", "", 2, id="named"),
        pytest.param("", "GPU 0: x", 0, id="hidden"),
        pytest.param(None, "GPU 0: a (UUID: x)\\nGPU 1: b (UUID: y)", 2, id="listed"),
        pytest.param(None, "No devices were found", 0, id="none"),
        pytest.param(None, None, 0, id="no-nvidia-smi"),
    ],
)
def test_gpus_are_counted_as_the_trainer_sees_them(
    visible: str | None,
    listed: str | None,
    count: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if listed is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\nprintf '{listed}\\n'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    environ = {"PATH": f"{tmp_path}:/bin"}
    if visible is not None:
        environ["CUDA_VISIBLE_DEVICES"] = visible
    assert gpu_count(environ) == count


TWO = """\
GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-5fd4f087-86f3-7a43-b711-4771313afc50)
  MIG 1g.10gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
GPU 1: NVIDIA L40S (UUID: GPU-d9b3c7f5-0f5c-4c9e-9f5e-2b7c1d0e9a11)
"""


@pytest.mark.parametrize(
    ("visible", "listing", "gpus"),
    [
        (None, TWO, Gpus(2, "NVIDIA A100-SXM4-80GB, NVIDIA L40S")),
        ("1", TWO, Gpus(1, "NVIDIA L40S")),
        ("GPU-5fd4f087", TWO, Gpus(1, "NVIDIA A100-SXM4-80GB")),
        ("MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", TWO, Gpus(1)),
        ("", TWO, Gpus(0)),
        ("2,5", "", Gpus(2)),
        (None, "", Gpus()),
        (None, "No devices were found", Gpus()),
    ],
)
def test_record_tells_the_gpus_as_far_as_they_were_asked_for(
    visible: str | None, listing: str, gpus: Gpus
) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert seen_gpus(environ, listing) == gpus
