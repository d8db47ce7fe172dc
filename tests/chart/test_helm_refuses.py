"""Helm and sweepctl refuse the same settings: one schema, two validators."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweepctl.values.settings import load_values
from sweepctl_pod.errors import SpecError
from tests.broken_values import CONTRADICTIONS, SCHEMA, Broken
from tests.chart.conftest import Helm


def test_helm_refuses_every_setting_that_the_schema_refuses(helm: Helm, tmp_path: Path) -> None:
    files = []
    for number, broken in enumerate(SCHEMA):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(f"{broken.text}\n")
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda file: helm("template", "legs", ".", "-f", str(file)), files))
    accepted = [b.text for b, done in zip(SCHEMA, results, strict=True) if done.returncode == 0]
    assert accepted == []
    unclear = [
        broken.text
        for broken, done in zip(SCHEMA, results, strict=True)
        if "values don't meet the specifications of the schema" not in done.stderr
    ]
    assert unclear == []
    unnamed = [
        (broken.setting, done.stderr)
        for broken, done in zip(SCHEMA, results, strict=True)
        if not names(done.stderr, broken.setting)
    ]
    assert unnamed == []


def names(stderr: str, setting: str) -> bool:
    """Tell whether helm names a setting: by a part of its path, or by a map's key in quotes."""
    parts = set(re.split(r"[.\[]", setting)) & set(re.split(r"[/'\s]", stderr))
    keys = (setting.split(".", depth)[-1] for depth in (1, 2))
    return bool(parts) or any(f"'{key}'" in stderr for key in keys)


def test_helm_takes_all_options(helm: Helm) -> None:
    done = helm("template", "legs", ".", "-f", "ci/all-options.yaml")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("broken", CONTRADICTIONS, ids=[broken.id for broken in CONTRADICTIONS])
def test_helm_says_word_for_word_what_sweepctl_says(
    helm: Helm, tmp_path: Path, broken: Broken
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(f"{broken.text}\n")
    with pytest.raises(SpecError) as refusal:
        load_values([str(file)])
    expected = "".join(
        f"{problem.path}: {problem.message}\n  = {problem.hint}\n"
        for problem in refusal.value.problems
    )
    done = helm("template", "legs", ".", "-f", str(file), "--set", "sweep=a")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"these settings cannot be:\n\n{expected}\n" in done.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        (
            "legs",
            [],
            "sweep: there is no sweep to run\n"
            "  = say --set-file sweep=sweep.yaml, or set sweepId: ENTITY/PROJECT/ID",
        ),
        (
            "legs.v2",
            ["--set", "sweep=a"],
            "the release's name: 'legs.v2': expected lower-case letters, digits and '-', "
            "45 at most\n  = try helm install legs-v2",
        ),
        (
            "x" * 46,
            ["--set", "sweep=a"],
            f"the release's name: '{'x' * 46}': expected lower-case letters, digits and '-', "
            f"45 at most\n  = try helm install {'x' * 45}",
        ),
        (
            "3-legs",
            ["--set", "sweep=a,server.enabled=true"],
            "the release's name: '3-legs': expected a letter first, as the server's Service takes "
            "the name\n  = try helm install sweep-3-legs",
        ),
    ],
    ids=["no sweep", "a dot in the name", "a long name", "a digit before a server"],
)
def test_helm_refuses_what_sweepctl_does_not_take_either(
    helm: Helm, name: str, arguments: list[str], complaint: str
) -> None:
    done = helm("template", name, ".", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"these settings cannot be:\n\n{complaint}\n" in done.stderr


def test_helm_refuses_a_sweep_file_that_is_not_utf_8(helm: Helm, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_bytes("name: bücher\n".encode("latin-1"))
    done = helm("template", "legs", ".", "--set-file", f"sweep={file}")
    assert done.returncode == 1
    assert "sweep: the sweep file is not UTF-8\n  = save it as UTF-8\n" in done.stderr
