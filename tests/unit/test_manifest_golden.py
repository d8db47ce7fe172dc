"""The objects of the main variants, to be read by people: tests/golden/manifests.

SWEEPCTL_GOLDEN=write rewrites them; the diff then belongs to the change.
"""

import difflib
import os
from pathlib import Path

import pytest

from sweepctl import manifest
from sweepctl.manifest.pod_code import PodCode
from sweepctl.manifest.yaml_text import yaml_text
from sweepctl.values.settings import chart_folder, load_values

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests"
SWEEP = """\
name: legs
method: random
metric: {name: Train/mean_reward, goal: maximize}
command: [isaaclab, train, --task, Toy-Legs]
parameters:
  agent.seed: {values: [1, 2, 3]}
"""
VARIANTS: dict[str, tuple[str, ...]] = {
    "default": (),
    "with-server": ("server.enabled=true", "networkPolicy.enabled=true"),
    "kueue": ("kueue.queue=robots", "kueue.priorityClass=nightly", "kueue.elastic=true"),
    "baseline-on-claims": (
        *("security.profile=baseline", "runs.type=pvc", "cache.type=pvc", "cache.perAgent=true"),
        *("image.tag=2.3.2", "workingDir=/workspace/isaaclab", "grammar=hydra"),
    ),
    "code-from-git": (
        *("code.git.repository=https://github.com/team/legs.git", "code.git.ref=v1.2"),
        *("code.git.secretName=github", "pythonPath={/code/source}", "podCode.mount=false"),
    ),
}


@pytest.fixture(autouse=True)
def _small_pod_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the golden files free of the pod code, which changes for reasons of its own."""
    code = PodCode({"__init__.py": "", "__main__.py": "print('the agent')\n"})
    monkeypatch.setattr("sweepctl.manifest.plan.pod_code", lambda: code)


def compare(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    if os.environ.get("SWEEPCTL_GOLDEN") == "write":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    known = file.read_text() if file.exists() else ""
    if text != known:
        diff = difflib.unified_diff(
            known.splitlines(), text.splitlines(), str(file), "rendered now", lineterm="", n=2
        )
        lines = "\n".join(diff)
        pytest.fail(
            f"{lines}\n\nif that is meant: SWEEPCTL_GOLDEN=write pytest {Path(__file__).name}",
            pytrace=False,
        )


@pytest.mark.parametrize("name", VARIANTS)
def test_the_objects_of_a_variant_are_the_known_ones(name: str) -> None:
    values = load_values([], ["agents=3", *VARIANTS[name]])
    sweep_id = None if name == "default" else "team/legs/ab12cd34"
    plan = manifest.plan_job(values, SWEEP, "legs", "robots", sweep_id=sweep_id)
    compare(name, yaml_text(manifest.render(plan)))


def test_the_objects_of_all_options_are_the_known_ones() -> None:
    values = load_values([str(chart_folder() / "ci" / "all-options.yaml")])
    plan = manifest.plan_job(values, SWEEP, "legs", "robots")
    compare("all-options", yaml_text(manifest.render(plan)))


def test_every_golden_file_has_its_variant() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == {*VARIANTS, "all-options"}
