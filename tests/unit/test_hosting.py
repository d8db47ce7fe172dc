"""What a host of this repository reads: workflow, templates, commit hooks; links of its pages."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HOOKS = ROOT / ".pre-commit-config.yaml"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PAGES = sorted(
    (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "charts/isaac-sweep/README.md")
)
LINK = re.compile(r"\]\(([^)\s#]+)(?:#([\w-]+))?\)")


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text("utf-8"))


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in read(file)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("file", [HOOKS, *WORKFLOWS, *FORMS], ids=lambda file: file.name)
def test_what_a_host_reads_is_a_map(file: Path) -> None:
    assert isinstance(read(file), dict)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_every_target_that_a_workflow_makes_is_there(file: Path) -> None:
    commands = [shlex.split(step["run"]) for step in steps(file) if "run" in step]
    made = {words[1] for words in commands if words[0] == "make"}
    assert made
    assert made <= targets()
    scripts = {word for words in commands for word in words if word.startswith(".ci/")}
    assert scripts == {".ci/run"}
    assert (ROOT / ".ci/run").stat().st_mode & 0o100


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_may_only_read_and_pins_what_it_uses(file: Path) -> None:
    workflow = read(file)
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    used = [step["uses"] for step in steps(file) if "uses" in step]
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action in used)


def test_the_workflow_checks_every_python_that_is_promised() -> None:
    (file,) = WORKFLOWS
    checked = read(file)["jobs"]["check"]["strategy"]["matrix"]["python"]
    texts = "".join(page.read_text("utf-8") for page in PAGES)
    promised = re.search(r"Python (3\.\d+) to (3\.\d+)", texts)
    assert promised is not None
    assert (checked[0], checked[-1]) == promised.groups()


def test_the_commit_hooks_call_the_locked_tools() -> None:
    (local,) = read(HOOKS)["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        tool = hook["entry"].split()[0]
        assert tool.startswith(".venv/bin/"), hook["id"]
        name = tool.rpartition("/")[2]
        assert re.search(rf"^{name}==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "file",
    [form for form in FORMS if form.stem != "config"],
    ids=lambda file: file.name,
)
def test_an_issue_form_has_what_the_host_wants_of_it(file: Path) -> None:
    form = read(file)
    assert {"name", "description", "body"} <= set(form)
    for part in form["body"]:
        assert part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert part["type"] == "markdown" or part["attributes"]["label"]
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target, anchor in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve()
        assert file.exists(), f"{target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", words.lower()).replace(" ", "-") for words in headings}
            assert anchor in slugs, f"{target} has no part {anchor}"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/agent.md"])
def test_every_file_and_target_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    spans = re.findall(r"(?<!`)`([^`]+)`(?!`)", text)
    files = {span for span in spans if re.fullmatch(r"[\w.-]+/[\w./-]+\.(py|yaml|graphql)", span)}
    shorthand = {"sweepctl_pod": "charts/isaac-sweep/files/", "templates": "charts/isaac-sweep/"}
    shorthand["ci"] = "charts/isaac-sweep/"
    lost = [
        file for file in files if not (ROOT / shorthand.get(file.split("/")[0], "") / file).exists()
    ]
    assert lost == []
    named = {target for span in spans if span.startswith("make ") for target in span.split()[1:]}
    assert {name for name in named if re.fullmatch(r"[a-z][a-z-]*", name)} <= targets()
