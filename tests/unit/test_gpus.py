"""Which GPUs each local agent gets, from CUDA_VISIBLE_DEVICES, nvidia-smi and the options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sweepctl.sweeps import gpus
from sweepctl.sweeps.gpus import GpuPlan, Wish, label, plan_gpus, read_listing, read_wish
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.preflight import visible_gpus

A, B = "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
M1, M2 = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb"
TWO = f"GPU 0: NVIDIA RTX A6000 (UUID: {A})\nGPU 1: NVIDIA L40S (UUID: {B})\n"
CUT = (
    f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {A})\n"
    f"  MIG 3g.20gb     Device  0: (UUID: {M1})\n"
    f"  MIG 3g.20gb     Device  1: (UUID: {M2})\n"
    f"GPU 1: NVIDIA A100-SXM4-40GB (UUID: {B})\n"
)
OLD_CUT = f"GPU 0: A100 (UUID: {A})\n  MIG 1g.5gb Device 0: (UUID: MIG-{A}/7/0)\n"


def lists(text: str) -> Callable[[Mapping[str, str]], str]:
    return lambda environ: text


def shares(plan: GpuPlan) -> list[str]:
    return [",".join(names) for names in plan.agents]


@pytest.mark.parametrize(
    ("listed", "agents", "which", "each", "environ", "expected"),
    [
        pytest.param(TWO, 2, "auto", None, {}, ["0", "1"], id="one each"),
        pytest.param(TWO, 1, "auto", None, {}, [""], id="a single agent keeps all"),
        pytest.param(TWO, 1, "0,1", None, {}, ["0,1"], id="a single agent gets all named"),
        pytest.param(TWO, 1, "auto", 1, {}, ["0"], id="a single agent with one"),
        pytest.param(TWO, 1, "1", None, {}, ["1"], id="a single agent on the second"),
        pytest.param(TWO, 2, "1,0", None, {}, ["1", "0"], id="in the order that is named"),
        pytest.param(TWO, 2, f"{B},0", None, {}, ["1", "0"], id="by UUID"),
        pytest.param(TWO, 1, "GPU-8932", None, {}, ["1"], id="by a UUID's beginning"),
        pytest.param("", 1, "GPU-8932", None, {}, ["GPU-8932"], id="by a UUID, at its word"),
        pytest.param(CUT, 3, "auto", None, {}, [M1, M2, "1"], id="MIG devices and a whole GPU"),
        pytest.param(CUT, 2, "0", None, {}, [M1, M2], id="the MIG devices of a GPU"),
        pytest.param(CUT, 1, M2, None, {}, [M2], id="a MIG device"),
        pytest.param(OLD_CUT, 1, "auto", 1, {}, [f"MIG-{A}/7/0"], id="MIG of older drivers"),
        pytest.param("", 2, "auto", None, {"v": "4, 7"}, ["4", "7"], id="those that are visible"),
        pytest.param(TWO, 2, "auto", None, {"v": f"{M1},{M2}"}, [M1, M2], id="visible MIG"),
        pytest.param("", 2, "auto", 2, {"v": "4,5,6,7"}, ["4,5", "6,7"], id="two each"),
        pytest.param("", 2, "auto", None, {"v": "4,5,6,7"}, ["4", "5"], id="some are left over"),
        pytest.param(TWO, 2, "0,1", None, {"v": "1"}, ["0", "1"], id="options go before it"),
        pytest.param("", 2, "auto", None, {"v": ""}, ["", ""], id="none is visible"),
        pytest.param(TWO, 2, "auto", None, {"v": "-1"}, ["", ""], id="hidden by -1"),
        pytest.param("", 2, "3,5", None, {}, ["3", "5"], id="named where nobody lists them"),
        pytest.param("", 4, "auto", None, {}, ["", "", "", ""], id="none"),
        pytest.param("GPU 0: a\nGPU 1: b (UUID: x)", 2, "auto", None, {}, ["0", "1"], id="brief"),
    ],
)
def test_agents_have_gpus_of_their_own(
    listed: str,
    agents: int,
    which: str,
    each: int | None,
    environ: dict[str, str],
    expected: list[str],
) -> None:
    visible = {"CUDA_VISIBLE_DEVICES": environ["v"]} if environ else {}
    plan = plan_gpus(read_wish(which, each), agents, visible, lists(listed))
    assert shares(plan) == expected
    for index, names in enumerate(expected):
        assert plan.environ_of(index).get("CUDA_VISIBLE_DEVICES", "") == names
    assert not any("warning" in note for note in plan.notes)


def test_no_agent_sees_a_gpu_when_none_is_asked_for() -> None:
    plan = plan_gpus(read_wish("none", None), 2, {"CUDA_VISIBLE_DEVICES": "0"}, lists(TWO))
    assert [plan.environ_of(index) for index in range(2)] == [{"CUDA_VISIBLE_DEVICES": "-1"}] * 2


def test_numbers_of_nvidia_smi_are_read_as_such() -> None:
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    listed = plan_gpus(Wish(), 2, {}, lists(TWO)).environ_of(1)
    assert listed == {"CUDA_VISIBLE_DEVICES": "1", **order}
    visible = plan_gpus(Wish(), 2, {"CUDA_VISIBLE_DEVICES": "0,1"}, lists(TWO)).environ_of(1)
    assert visible == {"CUDA_VISIBLE_DEVICES": "1"}, "they are numbered as the user's CUDA does"
    own = plan_gpus(Wish(), 2, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, lists(TWO)).environ_of(0)
    assert own == {"CUDA_VISIBLE_DEVICES": "0"}


def test_too_few_gpus_are_shared_and_that_is_said() -> None:
    plan = plan_gpus(Wish(), 5, {}, lists(TWO))
    assert shares(plan) == ["0", "1", "0", "1", "0"]
    assert "\n".join(plan.notes) == (
        "warning: 5 agents share 2 GPUs (0,1): they train more slowly, in less GPU memory\n"
        "  one GPU for each agent: --agents 2; on the CPU: --gpus none"
    )


@pytest.mark.parametrize(
    ("which", "each", "agents", "message", "hint"),
    [
        ("auto", 1, 3, "3 agents with 1 GPU each: 3 wanted, 2 GPUs (0,1) found", "2"),
        ("auto", 2, 2, "2 agents with 2 GPUs each: 4 wanted", "--agents 1"),
        ("auto", 3, 1, "1 agent with 3 GPUs each: 3 wanted", "write fewer"),
        ("0,2", None, 2, "there is no GPU 2", "nvidia-smi lists 0, 1"),
        ("GPU-77", None, 1, "there is no GPU GPU-77", "nvidia-smi lists"),
        ("0,0", None, 2, "names a GPU twice", "share"),
        (f"0,{A}", None, 2, "names GPU 0 twice", "share"),
        ("cuda:0", None, 1, "'cuda:0' names no GPU", "0,1"),
        ("0,,1", None, 1, "'' names no GPU", "0,1"),
        ("all", None, 1, "'all' names no GPU", "auto"),
        ("-1", None, 1, "'-1' names no GPU", "none"),
        ("none", 2, 1, "leaves no GPUs", "leave out"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_type(
    which: str, each: int | None, agents: int, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        plan_gpus(read_wish(which, each), agents, {}, lists(TWO))
    assert message in refusal.value.message
    assert hint in (refusal.value.hint or "")


def test_an_agent_takes_one_mig_device_at_most() -> None:
    with pytest.raises(UsageError, match="CUDA shows a program one of them"):
        plan_gpus(Wish(None, 2), 1, {}, lists(CUT))


def test_gpus_that_are_asked_for_and_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="there is no GPU to give"):
        plan_gpus(Wish(None, 1), 2, {"CUDA_VISIBLE_DEVICES": ""}, lists(TWO))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0,1", ("0", "1")),
        (" 2 , 3 ", ("2", "3")),
        ("0,-1,1", ("0",)),
        ("0,x,1", ("0",)),
        ("1,1", ("1",)),
        ("NoDevFiles", ()),
        ("", ()),
        (f"{A},{M1}", (A, M1)),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(text: str, names: tuple[str, ...]) -> None:
    assert visible_gpus(text) == names


def test_a_label_is_short() -> None:
    assert label(["0", "12"]) == "0,12"
    assert label([A]) == "GPU-5d5ba0d6"
    assert label([f"MIG-{A}/7/0"]) == "MIG-GPU-5d5b"


def test_listing_of_another_kind_lists_nothing() -> None:
    assert read_listing("No devices were found\n") == ()


SCRIPTS = {
    "hangs": ("#!/bin/sh\nexec sleep 100\n", "the GPU driver hangs"),
    "fails": ("#!/bin/sh\necho 'Failed to initialize NVML: Driver mismatch'\nexit 18\n", "NVML"),
    "finds none": ("#!/bin/sh\necho 'No devices were found'\n", "No devices were found"),
    "says nothing": ("#!/bin/sh\n", "says 'nothing'"),
    "an empty file": ("", None),
    "absent": (None, None),
}


@pytest.mark.parametrize(("script", "note"), SCRIPTS.values(), ids=SCRIPTS)
def test_without_an_answer_of_nvidia_smi_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, note: str | None
) -> None:
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(script)
        (tmp_path / "nvidia-smi").chmod(0o755)
    system = [folder for folder in ("/usr/bin", "/bin") if not Path(folder, "nvidia-smi").exists()]
    environ = {"PATH": os.pathsep.join([str(tmp_path), *system])}
    monkeypatch.setattr(gpus, "_LISTING_LIMIT_S", 0.5)
    plan = plan_gpus(Wish(), 2, environ)
    assert (plan.agents, plan.environ_of(0)) == (((), ()), {})
    assert any(note in told for told in plan.notes) if note else plan.notes == ()
    if note:
        with pytest.raises(SweepctlError, match=note):
            plan_gpus(Wish(None, 1), 2, environ)


def test_a_program_named_nvidia_smi_is_asked(tmp_path: Path) -> None:
    (tmp_path / "listing").write_text(CUT)
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$*" = -L ] && exec cat {tmp_path}/listing\nexit 2\n')
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    plan = plan_gpus(Wish(), 3, {"PATH": path})
    assert shares(plan) == [M1, M2, "1"]
    assert plan.notes == ("GPUs of agent-0: MIG-c6d4f1ef, agent-1: MIG-cba663e8, agent-2: 1",)
