"""Go templates and sweepctl compute the same from settings: values and hashes."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from sweepctl.manifest import job_hash
from sweepctl.manifest.hash import canonical_json
from sweepctl.manifest.pod_code import pod_code
from sweepctl.values.settings import chart_folder, load_values
from tests.chart.conftest import Helm

HASH = """
{{- $code := dict }}
{{- range $path, $_ := .Files.Glob "files/sweepctl_pod/**.py" }}
{{- $key := trimPrefix "files/sweepctl_pod/" $path | replace "/" "." }}
{{- $_ := set $code $key ($.Files.Get $path) }}
{{- end }}
{{- $codeHash := $code | toJson | sha256sum | trunc 8 }}
{{- $shape := dict
    "chart" .Chart.Version
    "app" .Chart.AppVersion
    "values" (omit .Values "agents" "suspend" "ttlSecondsAfterFinished" "sweep" "sweepId" "server"
      "networkPolicy" "global")
    "sweep" (.Values.sweep | sha256sum | trunc 8)
    "sweepId" .Values.sweepId
    "serverPort" (ternary (int .Values.server.port) 0 .Values.server.enabled)
    "code" (ternary $codeHash "" .Values.podCode.mount)
    "scripts" (list (.Files.Get "files/start.sh" | sha256sum | trunc 8)
      (.Files.Get "files/fetch_code.sh" | sha256sum | trunc 8)) }}
{{- $shape | toJson | sha256sum | trunc 8 }}
"""


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """Give a chart with our settings and files, and no templates yet."""
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    for name in ("Chart.yaml", "values.yaml", "values.schema.json"):
        (chart / name).write_text((chart_folder() / name).read_text())
    shutil.copytree(chart_folder() / "files", chart / "files")
    return chart


def rendered(helm: Helm, chart: Path, template: str, *arguments: str) -> str:
    (chart / "templates" / "it.yaml").write_text(
        f'{{{{ define "it" }}}}{template}{{{{ end }}}}\n'
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: it}\n"
        'data: {it: {{ include "it" . | trim | toJson }}}\n'
    )
    done = helm("template", "legs", str(chart), *arguments)
    assert done.returncode == 0, done.stderr
    return str(yaml.safe_load(done.stdout)["data"]["it"])


@pytest.mark.parametrize(
    "flags",
    [
        ["agents=8", "image.tag=3.0"],
        ["pythonPath={/a,/b}", r"nodeSelector.kubernetes\.io/arch=arm64"],
        ["tolerations[0].key=gpu,tolerations[0].operator=Exists"],
        ["resources.limits.memory=null", "resources.requests.cpu=2"],
        ["proxy.noProxy=a\\,b", "suspend=true"],
        ["extraEnv[0].name=A,extraEnv[0].value=x=y"],
    ],
    ids=" ".join,
)
def test_set_gives_the_settings_that_helm_gives(helm: Helm, chart: Path, flags: list[str]) -> None:
    arguments = [word for flag in flags for word in ("--set", flag)]
    text = rendered(helm, chart, "{{ toJson .Values }}", *arguments)
    assert json.loads(text) == load_values([], flags).tree


@pytest.mark.parametrize("text", ["", "method: grid\n", "a: '<b> & \u2028 \u00e9 \U0001f916'\r\n"])
@pytest.mark.parametrize(
    "settings",
    [
        "agents: 3",
        "agents: 3\nsuspend: true\nttlSecondsAfterFinished: 60",
        "podCode: {mount: false}",
        "server: {enabled: true, port: 9090}",
        "sweepId: a/b/c\ngeneration: 7",
        "gpus: 4.0\nresources: {requests: {memory: 34359738368}, limits: {memory: null}}",
        "extraEnv: [{name: A, value: \"<b> & 'c' \\u2028 \\u00e9 \\U0001F916 \\t \\\\ \\x07\"}]",
        "affinity: {podAffinity: {a: [0.5, 1.0e-7, 1.0e+21, 123456789012345680, -2.5, null]}}",
        "affinity: {nodeAffinity: {b: {c: null}}}\nsidecars: [{name: a, image: b, x: null}]",
    ],
)
def test_the_job_hash_is_what_helm_computes(
    helm: Helm, chart: Path, tmp_path: Path, settings: str, text: str
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(settings)
    sweep = tmp_path / "sweep.yaml"
    sweep.write_bytes(text.encode())
    arguments = ["-f", str(values), "--set-file", f"sweep={sweep}"]
    tree = load_values([str(values)]).tree
    code = pod_code() if tree["podCode"]["mount"] else None
    assert rendered(helm, chart, HASH, *arguments) == job_hash(tree, text, code)


def test_canonical_json_is_what_helm_writes(helm: Helm, chart: Path, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        "global: {Z: 1, a: [1.5, 1.0e-6, 9.9e-7, 1.0e+20, 1.0e+21, -0.25, 100000000000000000000],"
        ' "\u00e9": "\\b \\f \\n \\r \\u2029", A: {}, "": [], "<": true, x: null}'
    )
    tree = load_values([str(values)]).tree["global"]
    assert canonical_json(tree) == rendered(
        helm, chart, "{{ toJson .Values.global }}", "-f", str(values)
    )
