"""The parts of the chart that are made from others are up to date, and its package holds it all."""

import compileall
import hashlib
import re
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from sweepctl.manifest.pod_code import pod_code
from sweepctl.values.settings import chart, chart_folder
from tests.chart.conftest import Helm
from tools.chart import COMMAND, package, with_settings


def test_bytecode_beside_the_sources_changes_nothing(helm: Helm, tmp_path: Path) -> None:
    flags = ("-n", "robots", "--set", "sweep=a")
    clean = helm("template", "legs", str(fresh(tmp_path / "clean")), *flags)
    used = fresh(tmp_path / "used")
    for legacy in (False, True):  # beside the file as well, as some packagers leave it
        compileall.compile_dir(used / "files", quiet=2, legacy=legacy)
    (used / ".helmignore").unlink()
    assert list(used.rglob("*.pyc"))
    found = helm("template", "legs", str(used), *flags)
    assert (found.returncode, found.stdout) == (0, clean.stdout)
    (code,) = (
        thing
        for thing in yaml.safe_load_all(found.stdout)
        if thing["metadata"]["name"].startswith("legs-code-")
    )
    assert code["data"] == pod_code().files


def fresh(place: Path) -> Path:
    """Copy the chart without what Python has left in it."""
    return Path(
        shutil.copytree(chart_folder(), place, ignore=shutil.ignore_patterns("__pycache__"))
    )


def test_the_readme_has_the_settings_as_they_are() -> None:
    readme = (chart_folder() / "README.md").read_text("utf-8")
    assert with_settings(readme) == readme, f"run: {COMMAND}"


def test_artifact_hub_names_the_images_of_the_defaults() -> None:
    about = yaml.safe_load((chart_folder() / "Chart.yaml").read_text())
    named = yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    images = [chart().defaults["image"], chart().defaults["server"]["image"]]
    expected = [f"{image['repository']}:{image['tag']}" for image in images]
    assert [image["image"] for image in named] == expected
    for key in ("changes", "images"):
        assert isinstance(yaml.safe_load(about["annotations"][f"artifacthub.io/{key}"]), list)


def test_the_package_is_the_same_bytes_each_time_and_renders_what_the_folder_renders(
    helm: Helm, tmp_path: Path
) -> None:
    first, second = package(tmp_path / "a"), package(tmp_path / "b")
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in (first, second)}
    assert len(digests) == 1
    with tarfile.open(first) as tar:
        names = [entry.name for entry in tar]
    assert names == sorted(names)
    assert {"isaac-sweep/Chart.yaml", "isaac-sweep/README.md"} <= set(names)
    assert not [name for name in names if "/ci/" in name]
    flags = ("-n", "robots", "--set", "sweep=a,server.enabled=true")
    folder, packed = (helm("template", "legs", place, *flags) for place in (".", str(first)))
    assert folder.returncode == 0, folder.stderr
    assert packed.stdout == folder.stdout


@pytest.mark.parametrize(
    ("sets", "said", "unsaid"),
    [
        (
            "sweep=a,agents=2",
            [
                "2 agents on a sweep of their own, which the first one creates,\n"
                "at https://api.wandb.ai.\n",
                "sweepctl status legs -n robots ",
                "sweepctl logs legs -n robots ",
                "sweepctl best legs -n robots ",
                "create secret generic wandb --from-literal=apiKey=YOUR_KEY",
                "helm upgrade legs -n robots CHART --reuse-values --set agents=4",
                "keeps the sweep and its runs where they are, and nothing in the cluster.",
            ],
            ["claim", "held"],
        ),
        (
            "sweepId=me/legs/abc,suspend=true,runs.type=pvc,cache.type=pvc",
            [
                "1 agent of sweep me/legs/abc,\n",
                "; held until `helm upgrade … --set suspend=false`.",
                "It removes the claims it made: legs-cache and legs-runs.",
            ],
            ["first one creates"],
        ),
        (
            "sweep=a,server.enabled=true,server.apiKeys.secretName=keys",
            [
                "at http://legs-server.robots.svc:8080.",
                "The server takes the keys in the Secret keys, under apiKey.",
                "keeps the server's data, and nothing else. To remove that too:\n"
                "  kubectl -n robots delete pvc data-legs-server-0\n",
            ],
            ["keeps the sweep"],
        ),
        (
            "sweep=a,server.enabled=true,server.persistence.keep=false",
            ["removes the server's data as well (server.persistence.keep is false)."],
            ["delete pvc"],
        ),
    ],
    ids=["W&B", "a sweep that exists, held", "with a server", "without what it kept"],
)
def test_the_notes_give_the_next_commands_filled_in(
    helm: Helm, sets: str, said: list[str], unsaid: list[str]
) -> None:
    dry_run = ("--dry-run=client", "-n", "robots", "--set", sets)
    done = helm("install", "legs", ".", *dry_run)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("\nNOTES:\n")[2]
    assert [text for text in said if text not in notes] == [], notes
    assert [text for text in unsaid if text in notes] == [], notes
    assert not re.search(r"<no value>|%!|\n\n\n", notes), notes
