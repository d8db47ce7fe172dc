"""Helm and sweepctl hold the same settings for wrong: one schema, two validators."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from broken_values import SCHEMA
from conftest import Helm


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


def test_helm_takes_all_options(helm: Helm) -> None:
    done = helm("template", "legs", ".", "-f", "ci/all-options.yaml")
    assert done.returncode == 0, done.stderr
