"""The two renderers are twins: a template of ours for each of the chart's, field by field."""

import re
from pathlib import Path

import pytest

from sweepctl.manifest import objects
from sweepctl.values.settings import chart_folder

CHART = chart_folder() / "templates"
OURS = Path(objects.__file__).parent / "templates"
HELMS_OWN = {"NOTES.txt", "rules.yaml"}
"""What people read after an install, and the rules that sweepctl/values/rules.py has."""
COMPUTED = {
    *("json", "server", "isReached", "serviceAccount", "apiUrl", "selector", "podLabels"),
    *("code", "codeHash", "codeName", "jobName"),
    *("image", "text", "amount", "emptied", "resources", "agentResources", "network", "isSsh"),
}
"""The helpers whose answers Python gives: names, hashes, quantities, the proxy's variables."""
KEY = re.compile(r"^ *(?:- )?(?:\{key: )?([A-Za-z_][\w./-]*):(?: |$)", re.MULTILINE)


def twin(name: str) -> Path:
    """Give our template for a template of the chart."""
    return OURS / (f"{name.removesuffix('.tpl')}.j2")


TWINS = sorted(file.name for file in CHART.iterdir() if file.is_file() and file.name[0] != ".")
TWINS = [name for name in TWINS if name not in HELMS_OWN]


def test_each_template_of_the_chart_has_its_twin() -> None:
    assert {twin(name).name for name in TWINS} == {file.name for file in OURS.glob("*.j2")}
    rendered = {name for name in TWINS if name.endswith(".yaml")}
    assert {twin(name).name for name in rendered} == set(objects.TEMPLATES)


@pytest.mark.parametrize("name", [name for name in TWINS if name.endswith(".tpl")])
def test_the_helpers_are_the_same_in_the_same_order(name: str) -> None:
    defined = re.findall(r'define "isaac-sweep\.(\w+)"', (CHART / name).read_text())
    macros = re.findall(r"macro (\w+)\(", twin(name).read_text())
    spelled = [helper for helper in defined if helper not in COMPUTED]
    assert [re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", n) for n in spelled] == macros


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_spells_the_same_fields_out_in_the_same_order(name: str) -> None:
    assert fields(twin(name)) == fields(CHART / name)


def fields(file: Path) -> list[str]:
    """List the fields that a template spells out, but for those of helpers that Python computes."""
    text = re.sub(r"\{\{- /\*.*?\*/}}|\{#.*?#}", "", file.read_text(), flags=re.DOTALL)
    for part in re.split(r"\n(?=\{\{- define )", text)[1:]:
        helper = re.match(r'\{\{- define "isaac-sweep\.(\w+)"', part)
        if helper and helper[1] in (COMPUTED | {"labels"}):
            text = text.replace(part, "")
    return KEY.findall(text)
