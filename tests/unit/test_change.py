"""Sizes that cannot be, and what would undo a change in place."""

from __future__ import annotations

from typing import Any

import pytest

from sweepctl.jobs.change import check_may_delete, check_size, plan_delete, undone_by
from sweepctl.jobs.doctor import NEEDED
from sweepctl.jobs.submission import Submission
from sweepctl.kube.errors import ClusterError
from sweepctl_pod.errors import UsageError
from tests.unit.kubernetes_objects import job

ARGO_NOTE = (
    "Argo CD application gait-app sets it back when it heals itself:"
    " set agents: 4 in its source as well"
)
HELM = {"app.kubernetes.io/managed-by": "Helm"}


def found(sent: dict[str, Any]) -> Submission:
    return Submission("legs", "robots", None, (sent,))


@pytest.mark.parametrize(
    ("agents", "completed", "is_open", "message", "hint"),
    [
        (0, "", True, "a Job of 0 agents counts as finished", "sweepctl pause legs -n robots"),
        (-1, "", True, "-1 agents: expected 1 to 5000", None),
        (5001, "", True, "5001 agents: expected 1 to 5000", None),
        (
            2,
            "0-1,4",
            True,
            r"agents 0-1 have all ended.*\(ended: 0-1,4\)",
            "scale legs 3 -n robots",
        ),
    ],
    ids=["none", "negative", "too many", "all ended"],
)
def test_size_that_cannot_work_is_refused(
    agents: int, completed: str, is_open: bool, message: str, hint: str | None
) -> None:
    sent = job(6, completedIndexes=completed)
    with pytest.raises(UsageError, match=message) as refusal:
        check_size(agents, sent, found(sent), is_open=lambda: is_open)
    assert hint is None or hint in (refusal.value.hint or "")


@pytest.mark.parametrize(
    ("agents", "completed", "is_open"),
    [(3, "0-1", True), (2, "0-1", False), (1, "", True), (5000, "", True)],
    ids=["one left", "the sweep is over", "one", "most"],
)
def test_size_that_works_is_taken(agents: int, completed: str, is_open: bool) -> None:
    sent = job(6, completedIndexes=completed)
    check_size(agents, sent, found(sent), is_open=lambda: is_open)


def test_server_is_only_asked_when_its_answer_decides() -> None:
    def never() -> bool:
        raise AssertionError("asked")

    sent = job(6, completedIndexes="0-1")
    check_size(4, sent, found(sent), is_open=never)


@pytest.mark.parametrize(
    ("labels", "annotations", "notes"),
    [
        ({}, {}, []),
        (
            HELM,
            {"meta.helm.sh/release-name": "gait"},
            [
                "Helm release gait: give its next upgrade --set agents=4, or --force-conflicts to"
                " set it back"
            ],
        ),
        (
            HELM,
            {"argocd.argoproj.io/tracking-id": "gait-app:batch/Job:robots/legs"},
            [ARGO_NOTE],
        ),
        (
            {"argocd.argoproj.io/instance": "gait-app"},
            {},
            [ARGO_NOTE],
        ),
        (
            HELM,
            {},
            [
                "it was applied from what helm template prints: give its next rendering --set"
                " agents=4, or it is set back or refused as a conflict"
            ],
        ),
    ],
    ids=["submit's own", "Helm", "Argo CD by annotation", "Argo CD by label", "kubectl apply"],
)
def test_owner_that_would_undo_a_change_is_named(
    labels: dict[str, str], annotations: dict[str, str], notes: list[str]
) -> None:
    sent = job(labels=labels, annotations=annotations)
    assert undone_by(found(sent), "agents", "4") == notes


@pytest.mark.parametrize(
    ("labels", "annotations", "message", "hint"),
    [
        (
            HELM,
            {"meta.helm.sh/release-name": "gait"},
            "'legs' is the Helm release 'gait'",
            "helm uninstall gait -n robots",
        ),
        (
            HELM,
            {"argocd.argoproj.io/tracking-id": "gait-app:batch/Job:robots/legs"},
            "'legs' belongs to the Argo CD application 'gait-app', which brings it back",
            "take it out of its source, or: argocd app delete gait-app",
        ),
    ],
    ids=["Helm", "Argo CD"],
)
def test_what_another_keeps_is_not_deleted(
    labels: dict[str, str], annotations: dict[str, str], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        check_may_delete(found(job(labels=labels, annotations=annotations)))
    assert (refusal.value.message, refusal.value.hint) == (message, hint)


@pytest.mark.parametrize("labels", [{}, HELM], ids=["by submit", "by helm template"])
def test_what_was_only_applied_is_deleted(labels: dict[str, str]) -> None:
    check_may_delete(found(job(labels=labels)))


class Shown:
    """A cluster with one object of each kind; some kinds may not be listed."""

    def __init__(self, *forbidden: str) -> None:
        self.forbidden = forbidden

    def get(self, *_: Any) -> None:
        return None

    def list(self, kind: str, *_: Any, **__: Any) -> list[dict[str, Any]]:
        if kind in self.forbidden:
            raise ClusterError(f"user 'ann' may not list {kind}", status=403)
        return [job() if kind == "Job" else {"metadata": {"name": "legs"}}]


def test_delete_tells_what_it_could_not_look_for() -> None:
    cluster: Any = Shown("ConfigMap", "Service")
    plan = plan_delete(cluster, "legs", "robots", data=False)
    assert plan.unseen == ("Service", "ConfigMap")
    assert ("ServiceAccount", "legs") in plan.deleted
    assert "ConfigMap" not in [kind for kind, _ in plan.deleted]


def test_doctor_asks_for_all_that_delete_needs_for_what_submit_makes() -> None:
    asked = {(access.verb, access.resource) for access, _ in NEEDED}
    made = ("jobs", "configmaps", "serviceaccounts")
    assert {(verb, kind) for verb in ("list", "delete") for kind in made} <= asked
