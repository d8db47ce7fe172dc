"""Keys and passwords among the settings: refused, and shown to nobody, wherever they stand."""

import json
from pathlib import Path

import pytest

from sweepctl.values.settings import load_values
from sweepctl_pod.errors import Problem, SpecError

HEX = "0123456789abcdef" * 2 + "8899aabb"
NEW = "wandb_v1_" + "aZ09_" * 15
ON_PREMISES = "team1-" + HEX
KEYS = [HEX, NEW, ON_PREMISES, "hunter2-secret"]


def complaints(files: list[str], sets: list[str]) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as refusal:
        load_values(files, sets)
    return refusal.value.problems


def shown(problems: tuple[Problem, ...]) -> str:
    return "\n".join(problem.text() + json.dumps(problem.as_dict()) for problem in problems)


SETS = [
    "wandb.apiKey={}",
    "agents=x,wandb.apiKey={}",
    "wandb.apiKey={},agents=x",
    "wandb.api_key={}",
    "wandb.key={}",
    "wandb.token={}",
    "apiKey={}",
    "WANDB_API_KEY={}",
    "server.apiKeys={}",
    "wandb={}",
    "extraEnv[0].name=WANDB_API_KEY,extraEnv[0].value={}",
    "extraEnv[0].name=A,extraEnv[0].value=b,extraEnv[1].name=WANDB_API_KEY,extraEnv[1].value={}",
    "wandb.apiKey={},agents[",  # cannot be read at all
    "extraEnv[0].name=S3_TOKEN,extraEnv[0].value={},extraEnv[0].val=a",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("text", SETS)
def test_key_given_by_set_is_not_repeated(text: str, key: str) -> None:
    said = shown(complaints([], [text.format(key)]))
    assert key not in said
    assert "--set" in said


FILES = [
    "wandb:\n  apiKey: {}\n",
    "wandb: {{apiKey: {}, entity: a b}}\n",
    "wandb: {{entity: a b, apiKey: '{}'}}\n",
    "wandb: {}\n",
    "apiKey: {}\nagents: x\n",
    "extraEnv:\n  - name: WANDB_API_KEY\n    value: {}\n",
    "extraEnv: [{{name: WANDB_API_KEY, value: {}}}]\n",
    "extraEnv: {{WANDB_API_KEY: {}}}\n",
    "extraEnv:\n  - {{name: AWS_SECRET_ACCESS_KEY, value: {}, val: a}}\n",
    "server: {{apiKeys: [{}]}}\n",
    "wandb: {{apiKey: {}: x}}\n",  # no YAML
    "wandb: {{apiKey: {0}, apiKey: {0}}}\n",
    "wandb:\n  apiKey:\n    nested: {}\n    agents: x\n",
    "proxy: {{http: 'http://me:{}@proxy:3128'}}\n",
    "wandb: {{baseUrl: 'https://api:{}@w.org'}}\n",
    "code: {{git: {{repository: 'https://me:{}@github.com/a'}}}}\n",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("text", FILES)
def test_key_in_a_file_is_not_repeated(text: str, key: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text.format(key))
    said = shown(complaints([str(file)], []))
    assert key not in said
    assert "values.yaml" in said


@pytest.mark.parametrize("name", ["secretName", "secretKey"])
def test_key_in_place_of_a_name_is_told_as_such(name: str) -> None:
    (problem,) = complaints([], [f"wandb.{name}={HEX}"])
    assert "this looks like an API key" in problem.message
    assert "kubectl create secret generic wandb --from-literal=apiKey=YOUR_KEY" in problem.text()
    assert HEX not in problem.text()


def test_caret_points_to_what_is_covered() -> None:
    (problem,) = complaints([], [f"wandb.apiKey={HEX},agents=x"])[:1]
    assert problem.source == f"wandb.apiKey={'*' * 40},agents=x"


@pytest.mark.parametrize(
    "text",
    [
        "image.digest=sha256:" + "0a" * 32 + ",agents=x",
        "wandb.secretName=a,wandb.secretKey=b,agents=x",
        "nodeSelector.a=topology,agents=x",
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    (problem,) = complaints([], [text])
    assert problem.source == text
