"""What counts as a wrong exit status in a campaign of disruptions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.pod_watch import Seen, wrong_exit

TOLD = 1_000_000.0
OOM = {"exitCode": 137, "reason": "OOMKilled"}
GOOD: tuple[tuple[str, dict[str, Any] | None, bool, str], ...] = (
    ("handed back when told", {"exitCode": 75}, True, ""),
    ("never started by its node", {"exitCode": 137, "reason": "ContainerStatusUnknown"}, False, ""),
    ("refused by a kubelet that has just restarted", None, False, "UnexpectedAdmissionError"),
    ("deleted before its node heard of it", None, False, ""),
    ("its kubelet restarted while it evicted it", OOM, True, "UnexpectedAdmissionError"),
)
BAD: tuple[tuple[str, dict[str, Any] | None, bool, str], ...] = (
    ("gone without a word of its end", None, True, ""),
    ("killed for the memory of all", OOM, True, ""),
    ("failed, and its kubelet restarted", {"exitCode": 1}, True, "UnexpectedAdmissionError"),
    ("killed at the end of its grace", {"exitCode": 137, "reason": "Error"}, True, ""),
    ("killed, and no word of its start came", {"exitCode": 137, "reason": "Error"}, False, ""),
    ("lost by its node", {"exitCode": 137, "reason": "ContainerStatusUnknown"}, True, ""),
    ("failed", {"exitCode": 1, "reason": "Error"}, True, ""),
)


@pytest.mark.parametrize(
    ("ended", "has_run", "reason", "is_wrong"),
    [
        pytest.param(ended, has_run, reason, is_wrong, id=title)
        for cases, is_wrong in ((GOOD, False), (BAD, True))
        for title, ended, has_run, reason in cases
    ],
)
def test_exit_of_a_pod_that_was_told_to_leave_is_judged_by_how_it_ended(
    ended: dict[str, Any] | None, has_run: bool, reason: str, is_wrong: bool
) -> None:
    containers = [{"name": "agent", "state": {"terminated": ended}}] if ended else []
    item = {
        "metadata": {"name": "light-0", "labels": {}},
        "status": {"phase": "Failed", "reason": reason, "containerStatuses": containers},
    }
    found = wrong_exit(Seen(item, is_gone=True, told_at=TOLD, has_run=has_run), set())
    assert bool(found) is is_wrong, found
