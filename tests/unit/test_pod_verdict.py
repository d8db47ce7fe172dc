"""Facts in, verdict out: the whole table."""

import signal

import pytest

from sweepctl_pod.errors import ExitCode
from sweepctl_pod.run.verdict import Ending, Facts, Intervention, judge

GOOD = {"exit_code": 0, "metric": "loss", "summary": {"loss": 1.0}, "is_started": True}
OVER = {**GOOD, "has_proven_end": True}
UNVERIFIED = {**GOOD, "unverified": "no record"}


@pytest.mark.parametrize(
    ("facts", "ending", "reason", "record", "leave"),
    [
        pytest.param(GOOD, "finished", "loss = 1.0", 0, None, id="good"),
        pytest.param(
            {"exit_code": 0}, "finished", "came to its end", 0, None, id="sweep-without-metric"
        ),
        pytest.param(
            {**GOOD, "summary": {"a": {"b": 2}}, "metric": "a.b"},
            "finished",
            "a.b = 2",
            0,
            None,
            id="nested-metric",
        ),
        pytest.param(
            {**GOOD, "summary": {"loss": None}},
            "failed",
            "was not logged",
            1,
            None,
            id="metric-is-null",
        ),
        pytest.param(
            {**GOOD, "summary": {"loss": float("nan"), "_step": 12}},
            "failed",
            "metric loss is NaN at step 12: the training diverged",
            1,
            None,
            id="metric-is-nan",
        ),
        pytest.param(
            {**GOOD, "summary": {"loss": "-Infinity"}},
            "failed",
            "metric loss is -Infinity",
            1,
            None,
            id="metric-is-infinite-as-the-api-writes-it",
        ),
        pytest.param(
            {**GOOD, "summary": {"loss": "7.5"}},
            "failed",
            'metric loss is the text "7.5", no number',
            1,
            None,
            id="metric-is-text",
        ),
        pytest.param(
            {**GOOD, "summary": {"loss": {"min": 1, "max": 9}}, "goal": "maximize"},
            "finished",
            "loss = 9",
            0,
            None,
            id="metric-by-the-goals-own-aggregate",
        ),
        pytest.param(
            {**GOOD, "summary": {"_step": 3, "other": 1}},
            "failed",
            "it logged other; correct metric.name",
            1,
            None,
            id="other-metrics-only",
        ),
        pytest.param(
            {**GOOD, "summary": {}, "is_started": False},
            "failed",
            "opened no W&B run",
            1,
            None,
            id="no-wandb-at-all",
        ),
        pytest.param(
            {**GOOD, "summary": {}, "is_started": False, "unlogged": "sb3 has no option; write x"},
            "failed",
            "metric loss was not logged: sb3 has no option; write x",
            1,
            None,
            id="command-that-cannot-log",
        ),
        pytest.param(
            {**GOOD, "has_shown_end": False},
            "failed",
            "did not come to its end",
            1,
            None,
            id="code-0-without-evidence",
        ),
        pytest.param(
            {**GOOD, "exit_code": 2, "last_line": "no such task"},
            "failed",
            "exit code 2; its last line: no such task",
            2,
            None,
            id="exit-code",
        ),
        pytest.param(
            {**GOOD, "exit_code": 1, "last_line": "no task T", "advice": "name it in code.tasks"},
            "failed",
            "exit code 1; its last line: no task T; name it in code.tasks",
            1,
            None,
            id="exit-code-with-advice",
        ),
        pytest.param(
            {**GOOD, "has_shown_end": False, "advice": "name it in code.tasks"},
            "failed",
            "an exception was swallowed; name it in code.tasks",
            1,
            None,
            id="swallowed-exception-with-advice",
        ),
        pytest.param(
            {**GOOD, "exit_code": -signal.SIGSEGV},
            "failed",
            "ended by SIGSEGV",
            139,
            None,
            id="crash",
        ),
        pytest.param(
            {**GOOD, "exit_code": -9},
            "handed back",
            "SIGKILL; out of memory?), attempt 1 of 3",
            137,
            None,
            id="killed",
        ),
        pytest.param(
            {**GOOD, "exit_code": 137, "attempts": 2},
            "handed back",
            "attempt 2 of 3",
            137,
            None,
            id="killed-behind-a-launcher",
        ),
        pytest.param(
            {**GOOD, "exit_code": -9, "attempts": 3},
            "failed",
            "3 times",
            137,
            None,
            id="killed-too-often",
        ),
        pytest.param(
            {**GOOD, "exit_code": -15, "intervention": Intervention.STOPPED},
            "stopped",
            "W&B asked for it",
            143,
            None,
            id="stopped",
        ),
        pytest.param(
            {**GOOD, "exit_code": -15, "intervention": Intervention.LEAVING},
            "handed back",
            "told to leave",
            143,
            None,
            id="leaving",
        ),
        pytest.param(
            {**GOOD, "intervention": Intervention.LEAVING},
            "handed back",
            "told to leave",
            143,
            None,
            id="leaving-and-code-0-proves-nothing",
        ),
        pytest.param(
            {**OVER, "intervention": Intervention.LEAVING, "has_shown_end": True},
            "finished",
            "loss = 1.0",
            0,
            None,
            id="leaving-as-training-ended",
        ),
        pytest.param(
            {
                **GOOD,
                "intervention": Intervention.DIFFERENT,
                "complaint": "x is y",
                "exit_code": -9,
            },
            "failed",
            "not what was asked for: x is y",
            1,
            None,
            id="different",
        ),
        pytest.param(
            {**GOOD, "intervention": Intervention.UNKNOWN_SETTING, "complaint": "no x"},
            "failed",
            "no x",
            1,
            ExitCode.CONFIGURATION,
            id="unknown-setting",
        ),
        pytest.param(
            {"exit_code": None, "program": "isaaclab", "start_error": "no such file"},
            "handed back",
            "cannot be started: isaaclab: no such file; correct `command` in the sweep's file, or"
            " activate the environment",
            143,
            ExitCode.CONFIGURATION,
            id="no-program",
        ),
        pytest.param(
            {"exit_code": 127, "program": "/usr/bin/env", "last_line": "env: x: not found"},
            "handed back",
            "exit code 127: env: x: not found",
            143,
            ExitCode.CONFIGURATION,
            id="env-finds-no-program",
        ),
        pytest.param(
            {**GOOD, "exit_code": 127, "program": "sh"},
            "failed",
            "exit code 127",
            127,
            None,
            id="127-after-training",
        ),
        pytest.param(
            {"exit_code": 127, "program": "./mine"},
            "failed",
            "exit code 127",
            127,
            None,
            id="127-of-a-trainers-own",
        ),
        pytest.param(
            {**GOOD, "exit_code": 1, "disk_full": "OSError: No space left on device"},
            "handed back",
            "no space left",
            1,
            ExitCode.NODE_UNFIT,
            id="disk-full",
        ),
        pytest.param(
            {"exit_code": None, "node_error": "cannot allocate memory"},
            "handed back",
            "cannot be started on this node: cannot allocate memory",
            1,
            ExitCode.NODE_UNFIT,
            id="no-memory-to-start-it",
        ),
        pytest.param(
            {"exit_code": None, "node_error": "no space left on device", "attempts": 3},
            "failed",
            "cannot be started on this node: no space left on device, 3 times",
            1,
            None,
            id="never-any-memory-to-start-it",
        ),
        pytest.param(
            {**GOOD, "disk_full": "No space left on device"},
            "finished",
            "loss",
            0,
            None,
            id="disk-full-and-trained-nevertheless",
        ),
        pytest.param(
            {**OVER, "exit_code": -signal.SIGSEGV},
            "finished",
            "loss = 1",
            0,
            None,
            id="crash-while-closing",
        ),
        pytest.param(
            {**OVER, "exit_code": 139}, "finished", "loss", 0, None, id="crash-behind-a-shell"
        ),
        pytest.param(
            {**OVER, "exit_code": -9}, "finished", "loss", 0, None, id="killed-while-closing"
        ),
        pytest.param(
            {**OVER, "exit_code": -9, "intervention": Intervention.CLOSING},
            "finished",
            "loss",
            0,
            None,
            id="hung-while-closing",
        ),
        pytest.param(
            {**OVER, "exit_code": -9, "summary": {}},
            "handed back",
            "killed from outside",
            137,
            None,
            id="killed-before-it-had-told-all",
        ),
        pytest.param(
            {**OVER, "exit_code": 3}, "failed", "exit code 3", 3, None, id="error-while-closing"
        ),
        pytest.param(
            {**GOOD, "exit_code": -signal.SIGSEGV},
            "failed",
            "SIGSEGV",
            139,
            None,
            id="crash-without-proof-of-an-end",
        ),
        pytest.param(
            {**OVER, "summary": {}, "intervention": Intervention.LEAVING, "exit_code": -15},
            "handed back",
            "told to leave",
            143,
            None,
            id="leaving-before-the-metric-was-told",
        ),
        pytest.param(
            UNVERIFIED,
            "finished",
            "loss = 1.0; settings unverified: no record",
            0,
            None,
            id="settings-unverified",
        ),
        pytest.param(
            {**UNVERIFIED, "settings_required": True},
            "failed",
            "settings unverified: no record",
            1,
            None,
            id="settings-required",
        ),
        pytest.param(
            {**UNVERIFIED, "settings_required": True, "exit_code": 3},
            "failed",
            "exit code 3",
            3,
            None,
            id="failed-anyway",
        ),
        pytest.param(
            {**GOOD, "silence": "down", "summary": None},
            "left as W&B has it",
            "may have finished (the trainer came to its end), and W&B gave no answer: down",
            0,
            ExitCode.FAILED,
            id="no-answer",
        ),
        pytest.param(
            {**GOOD, "silence": "down", "summary": None, "exit_code": 3},
            "failed",
            "exit code 3",
            3,
            None,
            id="no-answer-needed",
        ),
        pytest.param(
            {**GOOD, "exit_code": 1, "disk_full": "full", "attempts": 3},
            "failed",
            "exit code 1",
            1,
            None,
            id="disk-full-each-time",
        ),
        pytest.param(
            {**GOOD, "undying": (7, 8)},
            "handed back",
            "do not die (pid 7, 8)",
            143,
            ExitCode.NODE_UNFIT,
            id="undying",
        ),
    ],
)
def test_facts_make_the_verdict(
    facts: dict[str, object], ending: str, reason: str, record: int, leave: ExitCode | None
) -> None:
    verdict = judge(Facts(**{"program": "trainer", **facts}))  # type: ignore[arg-type]
    assert verdict.ending is Ending(ending)
    assert reason in verdict.reason
    assert (verdict.exit_code, verdict.leave) == (record, leave)
