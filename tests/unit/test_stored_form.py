"""A sweep's stored form, which the pod makes where nobody else has: the same as the CLI's."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweepctl.sweepfile.load import load_sweep
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.find_sweep import Choice, choose, jobs_of, sweep_key, with_job
from sweepctl_pod.stored_form import config_text, stored_config
from sweepctl_pod.wandb.client import SweepInfo
from sweepctl_pod.wandb.states import is_open_sweep

ROOT = Path(__file__).parents[2]
KEY = sweep_key("robots", "legs", b"method: grid")


@pytest.mark.parametrize("file", ["sweep.yaml", "examples/toy_legs/sweep.yaml"])
def test_what_the_pod_stores_is_what_the_command_line_stores(file: str) -> None:
    text = (ROOT / file).read_bytes()
    assert stored_config(yaml.safe_load(text)) == load_sweep(file, text).to_wandb_config()


def test_the_stored_form_is_its_own_stored_form() -> None:
    config = load_sweep(str(ROOT / "sweep.yaml")).to_wandb_config()
    assert stored_config(json.loads(config_text(config))) == config


@pytest.mark.parametrize(
    ("parameters", "stored"),
    [
        ({"env.a": {"min": 1, "max": 2}}, {"env.a": {"min": 1, "max": 2, "distribution": "i"}}),
        ({"env.a": {"value": 1}}, {"env.a": {"value": 1}}),
        ({"env.a": {"value": True}}, {"env.a": {"value": True}}),
        ({"a": {"value": 1.0}}, {"a": {"value": 1.0}}),
        ({"a.b": {"value": 1.0}}, {"a.b": {"value": 1.0}}),
        (
            {"a.b": {"values": [1, 2], "type": "float"}},
            {"a.b": {"values": [1, 2]}, "a.b_type": {"value": "float"}},
        ),
        ({"a.b": {"value": 1.0, "type": "float"}}, {"a.b": {"value": 1.0}}),
        ({"a": {"values": [1, 2], "type": "float"}}, {"a": {"values": [1, 2]}}),
        (
            {"a.b": {"value": 1}, "a.b_type": {"value": "float"}},
            {"a.b": {"value": 1}, "a.b_type": {"value": "float"}},
        ),
        ({"a": {"value": 1, "what": 2}}, {"a": {"value": 1, "what": 2}}),
        ({"a.b": {"values": [1.0, 2]}}, {"a.b": {"values": [1.0, 2]}}),
        (
            {
                "g": {
                    "min": 0.5,
                    "max": 2.0,
                    "g_cli_path": {"value": "p"},
                    "g_base_dict": {"value": {"k": 1}},
                }
            },
            {
                "g": {"min": 0.5, "max": 2.0, "distribution": "u"},
                "g_cli_path": {"value": "p"},
                "g_base_dict": {"value": '{"k": 1.0}'},
            },
        ),
        (
            {
                "g_base_dict": {"value": "{'k': 1,}"},
                "g": {"value": 2.0},
                "g_cli_path": {"value": "p"},
            },
            {
                "g": {"value": 2.0},
                "g_cli_path": {"value": "p"},
                "g_base_dict": {"value": "{'k': 1,}"},
            },
        ),
    ],
    ids=[
        "integers",
        "an integer",
        "a truth value",
        "no override",
        "a float",
        "a type that the values do not tell",
        "a type that the values tell",
        "a type of no override",
        "a companion of the user's own",
        "what W&B does not know",
        "mixed",
        "nested",
        "flat",
    ],
)
def test_parameters_are_flattened(parameters: object, stored: dict[str, dict[str, object]]) -> None:
    short = {"i": "int_uniform", "u": "uniform"}
    for spec in stored.values():
        if "distribution" in spec:
            spec["distribution"] = short[str(spec["distribution"])]
    assert stored_config({"parameters": parameters}) == {"parameters": stored}


@pytest.mark.parametrize(
    ("root", "complaint"),
    [
        (None, "the sweep file is not a map"),
        ({"parameters": []}, "the sweep file has no map of parameters"),
        ({"parameters": {"a": 1}}, "parameters.a is not a map"),
        ({"parameters": {"g": {"g_base_dict": {"value": {}}}}}, "has no value for g_cli_path"),
        (
            {"parameters": {"g": {"g_base_dict": {"value": {}}, "g_cli_path": {"value": "p"}}}},
            "g_base_dict is empty",
        ),
        (
            {"parameters": {"g_cli_path": {"value": 1}, "g_base_dict": {"value": 1}}},
            "g_cli_path is a part of the scaled dictionary g, which is not there",
        ),
    ],
)
def test_what_cannot_be_flattened_is_named(root: object, complaint: str) -> None:
    with pytest.raises(SweepctlError, match=re.escape(complaint)):
        stored_config(root)


def test_maps_in_values_are_sorted_as_wandbs_client_sends_them() -> None:
    values = [{"b": 1, "a": [{"d": 1.0, "c": 2}]}, {"a": 1}]
    stored = stored_config({"parameters": {"z": {"values": values}, "a": {"value": 1}}})
    assert str(stored["parameters"]) == (
        "{'z': {'values': [{'a': [{'c': 2, 'd': 1.0}], 'b': 1}, {'a': 1}]}, 'a': {'value': 1}}"
    )


def test_a_placeholder_for_the_entity_is_left_out() -> None:
    root = {"entity": "YOUR_WANDB_ENTITY", "parameters": {}}
    assert stored_config(root) == {"parameters": {}}


def sweep(
    id: str, *jobs: str, state: str = "RUNNING", created: str = "2026-01-01T00:00:00"
) -> SweepInfo:
    text = "gains of the legs" if jobs else None
    for job in jobs:
        text = with_job(text, KEY, job)
    return SweepInfo(
        entity="me",
        project="legs",
        id=id,
        node_id=id,
        state=state,
        method="grid",
        config_text="",
        description=text,
        display_name=None,
        created_at=created,
        run_count=None,
        run_count_expected=None,
    )


A, B = sweep("a", "job-1"), sweep("b", "job-1")
LATER = sweep("0", "job-1", created="2026-01-01T00:00:01")
ENDED = sweep("c", "job-0", "job-1", state="FINISHED", created="2025-01-01T00:00:00")
OTHERS = sweep("d", "job-0")
OTHERS_ENDED = sweep("e", "job-0", state="CANCELED", created="2024-01-01T00:00:00")
FOREIGN = sweep("f")
BOTHS = sweep("d", "job-0", "job-1")
LATER_ENDED = sweep("0", "job-1", state="FINISHED", created="2026-01-01T00:00:01")
OTHERS_FINISHED = sweep("d", "job-0", state="FINISHED")
ENDED_AT_ONCE = sweep("a", "job-1", state="FINISHED")
LONG_AGO = sweep("g", "job-0", created="2025-12-31T23:58:59Z")
UNDATED = sweep("h", "job-0", created="")


@pytest.mark.parametrize(
    ("sweeps", "choice"),
    [
        ([], Choice(None)),
        ([FOREIGN], Choice(None)),
        ([OTHERS_ENDED], Choice(None)),
        ([A], Choice(A, True)),
        ([B, A], Choice(A, True, (B,))),
        ([LATER, B, A], Choice(A, True, (B, LATER))),
        ([LATER, ENDED], Choice(ENDED, True, (LATER,))),
        ([OTHERS, FOREIGN], Choice(OTHERS)),
        ([OTHERS_ENDED, OTHERS], Choice(OTHERS)),
        ([OTHERS, A], Choice(A, True, (OTHERS,))),
        ([OTHERS, LATER], Choice(OTHERS)),
        ([BOTHS, LATER], Choice(BOTHS, True, (LATER,))),
        ([OTHERS, LATER_ENDED], Choice(OTHERS)),
        ([OTHERS_FINISHED, LATER], Choice(LATER, True)),
        ([ENDED_AT_ONCE, OTHERS], Choice(ENDED_AT_ONCE, True)),
        ([LONG_AGO, A], Choice(A, True)),
        ([UNDATED, A], Choice(A, True)),
    ],
    ids=[
        "none",
        "another's",
        "an ended one of another Job",
        "ours",
        "two at the same moment",
        "three",
        "ours has ended",
        "an open one of another Job",
        "open and ended ones",
        "ours before another Job's of the same moment",
        "another Job's of the same moment before ours",
        "both Jobs' before ours alone",
        "another Job's before ours, which was stopped for it",
        "another Job's has ended before ours",
        "ours ended before another Job's began",
        "an open one of another Job from long ago",
        "one without a date",
    ],
)
def test_the_choice_does_not_depend_on_who_looks(sweeps: list[SweepInfo], choice: Choice) -> None:
    assert choose(sweeps, KEY, "job-1") == choice
    assert choose(reversed(sweeps), KEY, "job-1") == choice


@given(
    text=st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=40)),
    jobs=st.lists(st.uuids().map(str), min_size=1, max_size=4),
)
def test_a_description_keeps_its_own_words_and_names_every_job_once(
    text: str | None, jobs: list[str]
) -> None:
    described = text
    for job in [*jobs, *jobs]:
        described = with_job(described, KEY, job)
    assert described is not None
    assert described.startswith(text.strip() if text and text.strip() == text else "")
    assert described.count("sweepctl:robots/legs/") == 1
    found = SweepInfo(**{**_fields(A), "description": described})
    assert jobs_of(found, KEY) == frozenset(jobs)
    assert jobs_of(found, sweep_key("robots", "legs", b"another")) is None


def _fields(info: SweepInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in SweepInfo.__dataclass_fields__}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("RUNNING", True),
        ("PAUSED", True),
        ("PENDING", True),
        ("FINISHED", False),
        ("canceled", False),
        ("CANCELLED", False),
        ("CRASHED", False),
        ("FAILED", False),
        ("a word of tomorrow", True),
    ],
)
def test_an_open_sweep_may_hand_out_runs(state: str, expected: bool) -> None:
    assert is_open_sweep(state) is expected
