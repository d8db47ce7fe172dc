"""The settings contract: schema, values.yaml and ci/all-options.yaml know the same keys."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweepctl.values.settings import chart_folder, load_values
from tests.old_release import old_values

CHART = chart_folder()
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
PASSED_THROUGH = {"global"}
ROOT = Path(__file__).parents[2]


def schema_keys(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """List the fixed settings: those of maps that take no others."""
    for name, rules in schema.get("properties", {}).items():
        place = f"{path}.{name}".lstrip(".")
        rules = resolved(rules)
        inner = list(schema_keys(rules, place))
        is_fixed = inner and "affinity" not in name
        yield from inner if is_fixed else [place]


def resolved(rules: dict[str, Any]) -> dict[str, Any]:
    name = rules.get("$ref", "").removeprefix("#/definitions/")
    return SCHEMA["definitions"][name] if name else rules


def document_keys(tree: dict[str, Any], known: set[str], path: str = "") -> Iterator[str]:
    for name, value in tree.items():
        place = f"{path}.{name}".lstrip(".")
        if place in known or not isinstance(value, dict):
            yield place
        else:
            yield from document_keys(value, known, place)


def parts(schema: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield path, schema
        for key, value in schema.items():
            yield from parts(value, f"{path}/{key}")


@pytest.mark.parametrize("file", ["values.yaml", "ci/all-options.yaml"])
def test_schema_and_file_know_the_same_settings(file: str) -> None:
    known = set(schema_keys(SCHEMA))
    assert set(document_keys(yaml.safe_load((CHART / file).read_text()), known)) == known


def test_all_options_differ_from_the_defaults_and_are_valid() -> None:
    values = load_values([str(CHART / "ci" / "all-options.yaml")])
    defaults = load_values()
    # What stays: one of two that exclude each other, and what another choice rules out.
    same = {
        key
        for key in schema_keys(SCHEMA)
        if values.at(key) == defaults.at(key) and key not in PASSED_THROUGH
    }
    assert same == {
        "suspend",
        "podCode.mount",
        "runs.existingClaim",
        "runs.accessMode",
        "code.image.reference",
        "code.claim.name",
        "wandb.baseUrl",
        "caBundle.secret",
        "kueue.elastic",
        "serviceAccount.create",
        "server.image.digest",
        "server.affinity",
    }


def test_no_map_takes_unknown_keys_but_those_that_pass_kubernetes_pieces_through() -> None:
    open_maps = [
        path
        for path, part in parts(SCHEMA)
        if part.get("type") == "object" and "additionalProperties" not in part
    ]
    passed_through = (
        *("global", "labelSelector", "valueFrom", "podSelector", "namespaceSelector"),
        *("ipBlock", "nodeAffinity", "podAffinity", "podAntiAffinity", "securityContext"),
    )
    lists = ("extraVolumes", "sidecars", "initContainers")
    containers = [f"/properties/{name}/items" for name in lists]
    rest = [path for path in open_maps if path.rpartition("/")[2] not in passed_through]
    rest = [path for path in rest if not path.endswith(("/not", "/to/items", "/ports/items"))]
    assert rest == containers


def test_every_key_has_a_description() -> None:
    named = [
        (path, part)
        for path, part in parts(SCHEMA)
        if path.split("/")[-2:-1] == ["properties"] and not path.endswith("/properties")
    ]
    assert len(named) > 150
    assert [path for path, part in named if "description" not in part] == []


def test_every_setting_is_required_so_that_templates_find_it() -> None:
    """But for those that a release of the version before lacks when it is upgraded as it is.

    `helm upgrade --reuse-values` gives the new chart the values of the old one, and no others.
    """
    before = old_values()
    for path, part in parts(SCHEMA):
        if part.get("additionalProperties") is False and "/items" not in path:
            if path.endswith(("/tolerations", "/affinity")):
                continue
            had: Any = None if path.startswith("/definitions") else before
            for name in path.split("/properties/")[1:]:
                had = had.get(name) if isinstance(had, dict) else None
            needed = [
                name for name in part["properties"] if not isinstance(had, dict) or name in had
            ]
            assert part["required"] == needed, path


def test_patterns_mean_the_same_to_go_and_to_python() -> None:
    # RE2 has no look-around and no backreference; $ is taken for the very end (values/problems.py).
    for path, part in parts(SCHEMA):
        pattern = part.get("pattern")
        if isinstance(pattern, str):
            assert not re.search(
                r"\(\?|\\[0-9a-zA-Z]|\\\$|\[[^\]]*\$", pattern.replace("\\x", "")
            ), path
            assert pattern.endswith(("$", "$)", "/")) or pattern == "^SWEEPCTL_", path


def test_what_can_be_wrong_with_a_text_is_said_in_words() -> None:
    silent = [
        path
        for path, part in parts(SCHEMA)
        if isinstance(part.get("pattern"), str)  # a setting may have this name
        and "title" not in part
        and not path.endswith(("/not", "/0"))
    ]
    assert silent == []


def test_chart_and_package_have_one_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert declared is not None
    assert {about["version"], about["appVersion"]} == {declared[1]}
    assert load_values().at("server.image.tag") == declared[1]
