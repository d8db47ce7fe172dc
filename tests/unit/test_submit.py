"""What submit decides before it touches anything: the name, what is there already, the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweepctl.jobs.existing import (
    SubmitOptions,
    check_name_is_free,
    check_same_sweep,
    keep_live_settings,
    kept_settings,
)
from sweepctl.jobs.submission import Submission
from sweepctl.jobs.submit import Submitter, name_of
from sweepctl.sweepfile.load import SweepSpec, load_sweep
from sweepctl.values.settings import Values, chart, flag_settings, load_values
from sweepctl_pod.errors import SweepctlError, UsageError
from tests.unit.kubernetes_objects import ended, job

DEFAULT_AGENTS = chart().defaults["agents"]
TEXT = """\
method: random
metric: {name: loss, goal: minimize}
command: [python, train.py]
parameters:
  a.b: {min: 0.0, max: 1.0}
"""


def spec(text: str = TEXT, file: str = "sweep.yaml") -> SweepSpec:
    return load_sweep(file, text.encode())


CHARTS = {"app.kubernetes.io/name": "isaac-sweep", "app.kubernetes.io/managed-by": "Helm"}


def config(
    text: str = TEXT,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **data: str,
) -> dict[str, Any]:
    own = {"app.kubernetes.io/name": "isaac-sweep", "app.kubernetes.io/managed-by": "sweepctl"}
    return {
        "metadata": {
            "name": "legs-sweep",
            "labels": own if labels is None else labels,
            "annotations": annotations or {},
        },
        "data": {"sweep.yaml": text, **data},
    }


def found(config: dict[str, Any] | None = None, *jobs: dict[str, Any]) -> Submission:
    return Submission("legs", "robots", config, jobs)


@pytest.mark.parametrize(
    ("text", "file", "option", "name"),
    [
        ("name: Toy Legs\n" + TEXT, "sweep.yaml", None, "toy-legs"),
        (TEXT, "/home/ann/walking/sweep.yaml", None, "walking"),
        (TEXT, "/home/ann/walking/gains_G1.yaml", None, "gains-g1"),
        (TEXT, "-", "legs", "legs"),
        ("name: Toy Legs\n" + TEXT, "-", None, "toy-legs"),
    ],
    ids=["the sweep's", "its folder's", "its file's", "option", "stdin"],
)
def test_name_is_the_users_the_sweeps_or_the_files(
    text: str, file: str, option: str | None, name: str
) -> None:
    assert name_of(spec(text), file, option) == name


@pytest.mark.parametrize(
    ("file", "option", "message"),
    [("-", None, "needs a name"), ("sweep.yaml", "Legs_1", "lower-case letters")],
    ids=["stdin without name", "no DNS label"],
)
def test_name_that_cannot_be_is_refused(file: str, option: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        name_of(spec(), file, option)


def test_file_without_a_folder_name_still_has_a_name(tmp_path: Path) -> None:
    assert name_of(spec(), str(tmp_path / "x" / "sweep.yaml"), None) == "x"


@pytest.mark.parametrize(
    ("existing", "message"),
    [
        pytest.param(found(config(labels={})), "the name 'legs' is taken", id="a stranger's"),
        pytest.param(
            found(config(labels=CHARTS, annotations={"meta.helm.sh/release-name": "legs"})),
            "'legs' is the Helm release 'legs'",
            id="Helm's",
        ),
        pytest.param(
            found(config(labels=CHARTS)),
            "'legs' in namespace 'robots' is the chart's, by kubectl apply",
            id="applied from helm template",
        ),
        pytest.param(
            found(config(labels={**CHARTS, "argocd.argoproj.io/instance": "gait-app"})),
            "is the chart's, by the Argo CD application 'gait-app'",
            id="Argo CD's",
        ),
    ],
)
def test_name_that_others_use_is_refused(existing: Submission, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_name_is_free(existing, "legs")


def test_own_or_no_objects_leave_the_name_free() -> None:
    check_name_is_free(found(), "legs")
    check_name_is_free(found(config(), job()), "legs")


def test_another_sweep_file_under_the_same_name_is_refused_with_what_differs() -> None:
    with pytest.raises(UsageError) as refusal:
        check_same_sweep(found(config()), spec(TEXT.replace("1.0", "2.0")), "legs", None)
    assert refusal.value.message == (
        "'legs' runs another sweep file, and a sweep cannot change under way:\n"
        "--- legs (submitted)\n"
        "+++ sweep.yaml\n"
        "@@ -2,4 +2,4 @@\n"
        " metric: {name: loss, goal: minimize}\n"
        " command: [python, train.py]\n"
        " parameters:\n"
        "-  a.b: {min: 0.0, max: 1.0}\n"
        "+  a.b: {min: 0.0, max: 2.0}\n"
    )
    assert "sweepctl delete legs -n robots" in (refusal.value.hint or "")


def test_another_sweep_id_under_the_same_name_is_refused() -> None:
    existing = found(config(sweepId="local/p/one"))
    with pytest.raises(UsageError, match="works for sweep local/p/one, not for local/p/two"):
        check_same_sweep(existing, spec(), "legs", "local/p/two")


@pytest.mark.parametrize(
    "existing",
    [found(), found(config()), found(config(sweepId="local/p/one"))],
    ids=["nothing", "no id yet", "with its id"],
)
def test_the_same_sweep_may_be_submitted_again(existing: Submission) -> None:
    check_same_sweep(existing, spec(), "legs", None)


GENERATION = "sweepctl/generation"


def asked_or_set(asked: int | None, set_agents: int) -> Values:
    """Give settings of so many agents: by the flag if it is asked for, else by --set."""
    if asked is not None:
        return load_values(overrides=flag_settings({"--agents": asked}))
    return load_values([], [f"agents={set_agents}"])


@pytest.mark.parametrize(
    ("existing", "asked", "settled"),
    [
        pytest.param(found(), None, {"agents": 2, "suspend": False, "generation": 1}, id="new"),
        pytest.param(
            found(config(), job(7)), None, {"agents": 7, "suspend": False}, id="scaled, not asked"
        ),
        pytest.param(found(config(), job(7)), 3, {"agents": 3}, id="scaled, asked"),
        pytest.param(found(config(), job(7, suspend=True)), None, {"suspend": True}, id="paused"),
        pytest.param(
            found(config(), job(7, annotations={GENERATION: "4"})),
            None,
            {"generation": 4},
            id="a successor",
        ),
        pytest.param(
            found(config(), job(7, suspend=True, **ended("Complete"))),
            None,
            {"agents": 2, "suspend": False},
            id="ended",
        ),
    ],
)
def test_live_settings_stay_unless_the_command_says_otherwise(
    existing: Submission, asked: int | None, settled: dict[str, Any]
) -> None:
    values = keep_live_settings(asked_or_set(asked, 2), existing)
    assert {key: values.at(key) for key in settled} == settled


def test_newest_job_that_stays_is_the_one_that_counts() -> None:
    old, new = job(name="legs-old"), job(name="legs-new")
    going = job(name="legs-going")
    going["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    assert found(None, old, new, going).job == new
    assert found(None, going).job == going
    assert found().job is None


def test_place_of_the_api_key_is_read_from_the_job() -> None:
    sent = job()
    ref = {"secretKeyRef": {"name": "wandb", "key": "apiKey"}}
    sent["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "HOME", "value": "/x"},
        {"name": "WANDB_API_KEY", "valueFrom": ref},
    ]
    place = found(None, sent).secret_key
    assert place is not None
    assert (place.name, place.key) == ("wandb", "apiKey")


@pytest.mark.parametrize(
    ("existing", "asked", "set_agents", "notes"),
    [
        (found(), None, 5, []),
        (found(config(), job(7)), 5, 5, []),
        (found(config(), job(7)), None, 7, []),
        (found(config(), job(7)), None, DEFAULT_AGENTS, []),
        (
            found(config(), job(7)),
            None,
            5,
            ["the Job keeps its 7 agents, and the settings say 5: --agents 5 changes it"],
        ),
        (
            found(config(), job(7, suspend=True)),
            7,
            7,
            ["the Job is paused and stays so: sweepctl resume legs -n robots"],
        ),
        (found(config(), job(7, suspend=True, **ended("Complete"))), None, 5, []),
    ],
    ids=["new", "asked", "same", "not asked", "set otherwise", "paused", "ended"],
)
def test_setting_that_a_live_job_does_not_follow_is_told(
    existing: Submission, asked: int | None, set_agents: int, notes: list[str]
) -> None:
    values = asked_or_set(asked, set_agents)
    assert kept_settings(values, keep_live_settings(values, existing), existing) == notes


class Ready:
    """A cluster that admits everything and has nothing but the Secret of the API key."""

    namespace = "robots"

    def get(self, kind: str, name: str, *_: Any) -> dict[str, Any] | None:
        is_there = kind == "Namespace" or (kind == "Secret" and name == "wandb")
        return {"data": {"apiKey": "eA=="}} if is_there else None

    def list(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def create(self, *_: Any, dry_run: bool) -> None:
        assert dry_run

    def apply(self, wanted: dict[str, Any], **_: Any) -> None:
        raise AssertionError(f"made {wanted['kind']}")


def test_project_that_wandb_refuses_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "walking/robots")
    with pytest.raises(UsageError, match="walking/robots"):
        submit_to_ready({"server.enabled": True})


def test_secret_of_the_servers_own_keys_is_looked_for_before_anything_is_made() -> None:
    with pytest.raises(SweepctlError) as refusal:
        submit_to_ready({"server.enabled": True, "server.apiKeys.secretName": "keys"})
    assert refusal.value.message == (
        "the Secret 'keys' with the API key does not exist in namespace 'robots'"
    )
    assert refusal.value.hint == (
        "make it: kubectl create secret generic keys -n robots --from-file=apiKey=FILE"
    )


def submit_to_ready(settings: dict[str, object]) -> None:
    """Submit to a cluster that admits everything; what is made is an error."""
    cluster: Any = Ready()
    Submitter(
        cluster,
        spec(),
        load_values(overrides=settings),
        SubmitOptions("legs"),
        say=lambda line: None,
        environ={},
    ).run()
