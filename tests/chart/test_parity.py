"""`helm template` and `sweepctl render` give the same objects, or refuse with the same words.

Settings are drawn from the schema: SWEEPCTL_PARITY_EXAMPLES of them, 200 by default.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sweepctl.manifest import plan_job, render
from sweepctl.manifest.hash import canonical_json
from sweepctl.values.settings import load_values
from sweepctl_pod.errors import SpecError
from sweepctl_pod.stored_form import config_text
from tests.chart.conftest import Helm
from tests.chart.settings import TEXTS, settings

EXAMPLES = int(os.environ.get("SWEEPCTL_PARITY_EXAMPLES", "200"))
SEPARATOR = "these settings cannot be:"
Objects = dict[tuple[str, str], Any]


class Loader(yaml.CSafeLoader):
    """Reads numbers as Kubernetes does: JSON's, which YAML 1.1 takes for texts without a dot."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"-?[0-9]+(\.[0-9]+)?[eE][-+]?[0-9]+$"),
    list("-0123456789"),
)


def without_helm(value: Any) -> Any:
    """Take away what only Helm writes: its own labels, and its name as the one who manages."""
    if isinstance(value, dict):
        return {
            key: "-" if key == "app.kubernetes.io/managed-by" else without_helm(part)
            for key, part in value.items()
            if not str(key).startswith("helm.sh/")
        }
    return [without_helm(part) for part in value] if isinstance(value, list) else value


def by_name(objects: Any) -> Objects:
    found = [without_helm(piece) for piece in objects if piece]
    named = {(piece["kind"], piece["metadata"]["name"]): piece for piece in found}
    assert len(named) == len(found)
    return named


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parity")


@pytest.mark.timeout(1200 + EXAMPLES)
@given(
    tree=settings(),
    sweep=TEXTS.filter(bool),
    name=st.sampled_from(["legs", "123", "a-1e3", "null", "x" * 45]),
)
@example(tree={"checkpoint": None, "seed": None}, sweep="a", name="legs")
@example(tree={}, sweep="method: grid\r\n\ttab \u0085\u2028\ufeff\x7f", name="legs")
@example(
    tree={"server": {"enabled": True}, "networkPolicy": {"enabled": True}}, sweep="a", name="null"
)
@example(
    tree={
        "code": {"git": {"repository": "git@x.org:a", "secretName": "key", "knownHosts": "x\ny\n"}},
        "security": {"runAsUser": 2000, "readOnlyRootFilesystem": True},
        "podAnnotations": {"a": "b"},
        "sidecars": [{"name": "s", "image": "i", "securityContext": {"runAsUser": 7}}],
        "initContainers": [
            {"name": "t", "image": "i", "securityContext": {}},
            {"name": "u", "image": "i"},
        ],
        "envFrom": [{"prefix": "A_", "secretRef": {"name": "a", "optional": False}}],
        "extraVolumes": [
            {"name": "a", "emptyDir": {"sizeLimit": "1.5G"}},
            {"name": "b", "emptyDir": {"sizeLimit": "4Gi", "medium": "Memory"}},
            {"name": "c", "emptyDir": {"sizeLimit": 5}},
            {"name": "d", "emptyDir": None},
        ],
    },
    sweep="a",
    name="legs",
)
@example(
    tree={
        "code": {"git": {"repository": "ssh://x.org/a", "secretName": "key"}},
        "security": {"profile": "baseline"},
        "runs": {"size": "900000P"},
        "cache": {"size": "1.000000001Ki"},
        "schedulerName": "volcano",
    },
    sweep="a",
    name="legs",
)
@hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 200,
    suppress_health_check=list(HealthCheck),
    # Each try is a process: shrinking would take minutes, and the settings drawn are small.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
def test_helm_and_sweepctl_make_the_same_objects_of_the_same_settings(
    helm: Helm, chart: Path, folder: Path, tree: dict[str, Any], sweep: str, name: str
) -> None:
    if tree.get("server", {}).get("enabled") is True and name[0].isdigit():
        name = f"a{name}"  # refused by both: the server's Service takes the name
    values = folder / "values.yaml"
    values.write_text(config_text(tree))
    sweep_file = folder / "sweep.yaml"
    sweep_file.write_bytes(sweep.encode())
    arguments = ["-f", str(values), "--set-file", f"sweep={sweep_file}", "-n", "robots"]
    done = helm("template", name, str(chart), *arguments, "--skip-tests")
    try:
        loaded = load_values([str(values)])
    except SpecError as refusal:
        assert done.returncode == 1
        expected = {(p.path, p.message, p.hint) for p in refusal.problems}
        assert complaints(done.stderr) == expected
        return
    assert done.returncode == 0, done.stderr
    ours = by_name(render(plan_job(loaded, sweep, name, "robots")))
    theirs = by_name(yaml.load_all(done.stdout, Loader))
    assert theirs.keys() == ours.keys()
    for key in ours:
        assert canonical_json(theirs[key]) == canonical_json(ours[key]), key


def test_a_name_that_its_hash_makes_a_number_of_stays_a_text(helm: Helm, chart: Path) -> None:
    """YAML reads 1e-12345678 as a number, and one hash of forty has no letter in it."""
    for generation in range(1, 2000):
        flags = ["sweep=a", f"generation={generation}"]
        job = plan_job(load_values([], flags), "a", "1e", "robots").job_name
        if job.removeprefix("1e-").isdecimal():
            break
    done = helm("template", "1e", str(chart), "-n", "robots", "--set", ",".join(flags))
    theirs = by_name(yaml.load_all(done.stdout, Loader))["Job", job]
    assert theirs["spec"]["template"]["metadata"]["labels"]["sweepctl/job"] == job


def complaints(stderr: str) -> set[tuple[str, str, str | None]]:
    """Read the complaints out of what helm says."""
    _, found, text = stderr.partition(f"{SEPARATOR}\n\n")
    assert found, stderr
    lines = text.partition("\n\n")[0].splitlines()
    return {
        (*line.split(": ", 1), hint.removeprefix("  = "))  # type: ignore[misc]
        for line, hint in zip(lines[::2], lines[1::2], strict=True)
    }
