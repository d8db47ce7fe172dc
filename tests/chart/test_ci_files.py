"""Each file of ci/: helm lints it strictly, kubeconform takes what it renders, Pod Security too."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from sweepctl.values.settings import chart_folder, load_values
from tests import needs
from tests.chart.conftest import Helm
from tests.chart.schemas import LOCATION, write_schemas

FILES = sorted((chart_folder() / "ci").glob("*.yaml"))
SETS = ["", "suspend=true", "podCode.mount=false", "serviceAccount.create=false"]


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    if not write_schemas(folder):
        needs.lacks("no Go to fetch Kubernetes' OpenAPI with")
    return folder


@pytest.fixture(scope="module")
def kubeconform(helm_program: Path) -> Path:
    return helm_program.with_name("kubeconform")


def conforms(kubeconform: Path, schemas: Path, text: str) -> subprocess.CompletedProcess[str]:
    location = str(schemas / LOCATION)
    command = [str(kubeconform), "-strict", "-summary", "-schema-location", location]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_of_ci_is_valid_for_sweepctl_and_helm_lints_it(helm: Helm, file: Path) -> None:
    assert load_values([str(file)]).at("agents") >= 1
    done = helm("lint", "--strict", ".", "-f", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 chart(s) failed" in done.stdout
    assert not re.search(r"\[(WARNING|ERROR)\]", done.stdout), done.stdout


@pytest.mark.parametrize("sets", SETS, ids=lambda sets: sets or "as it is")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_file_of_ci_renders_conforms(
    helm: Helm, kubeconform: Path, schemas: Path, file: Path, sets: str
) -> None:
    if sets.startswith("suspend") and load_values([str(file)]).at("kueue.queue"):
        pytest.skip("Kueue suspends the Job itself")
    template = helm("template", "legs", ".", "-f", str(file), "--set", sets)
    assert template.returncode == 0, template.stderr
    done = conforms(kubeconform, schemas, template.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    count = len([piece for piece in yaml.safe_load_all(template.stdout) if piece])
    assert f"Valid: {count}, Invalid: 0, Errors: 0, Skipped: 0" in done.stdout


@pytest.mark.parametrize(
    ("before", "after"),
    [("restartPolicy", "restartPolice"), ("completions: 4", "completions: four")],
    ids=["a misspelt field", "a wrong type"],
)
def test_kubeconform_sees_what_is_wrong(
    helm: Helm, kubeconform: Path, schemas: Path, before: str, after: str
) -> None:
    template = helm("template", "legs", ".", "-f", "ci/minimal-values.yaml")
    assert before in template.stdout
    done = conforms(kubeconform, schemas, template.stdout.replace(before, after))
    assert done.returncode == 1


def test_templates_ask_the_cluster_nothing_and_know_no_chance_or_time() -> None:
    for template in (chart_folder() / "templates").rglob("*.*"):
        text = template.read_text()
        found = re.findall(r"\b(lookup|now|rand\w+|uuidv4|genCA|\.Capabilities)\b", text)
        assert found == [], template.name
