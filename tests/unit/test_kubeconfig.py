"""Which cluster a kubeconfig means, and what is said of one that means none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweepctl.kube.errors import SetupError
from sweepctl.kube.kubeconfig import open_cluster
from sweepctl_pod.errors import UsageError

FILE = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {token: abc}}]
contexts:
  - {name: lab, context: {cluster: c, user: u, namespace: robots}}
  - {name: home, context: {cluster: c, user: u}}
"""


def environ(folder: Path, text: str) -> dict[str, str]:
    file = folder / "config"
    file.write_text(text)
    return {"KUBECONFIG": str(file)}


@pytest.mark.parametrize(
    ("current", "context", "namespace", "opened"),
    [
        ("current-context: lab\n", None, None, ("lab", "robots")),
        ("current-context: lab\n", "home", None, ("home", "default")),
        ("current-context: lab\n", None, "gait", ("lab", "gait")),
        ("", "lab", None, ("lab", "robots")),
        ("current-context: ''\n", "lab", None, ("lab", "robots")),
        ("current-context: gone\n", "lab", None, ("lab", "robots")),
    ],
    ids=["current", "named", "namespace", "named, no current", "named, empty", "named, stale"],
)
def test_context_is_the_one_named_else_the_current_one(
    tmp_path: Path,
    current: str,
    context: str | None,
    namespace: str | None,
    opened: tuple[str, str],
) -> None:
    cluster = open_cluster(context, namespace, environ(tmp_path, FILE + current))
    assert (cluster.context, cluster.namespace) == opened


@pytest.mark.parametrize(
    ("text", "context", "message", "hint"),
    [
        (FILE, None, "has no current context", "name one with --context; it has: lab, home"),
        (FILE + "current-context: gone", None, "no context 'gone' in .*, and it is the", "it has"),
        (FILE + "current-context: lab", "labs", "no context 'labs' in", "did you mean lab?"),
        ("", None, "is no usable kubeconfig", "kubectl config"),
        ("method: random", None, "is no usable kubeconfig: it has no contexts$", "kubectl config"),
        ("- a", None, "is no usable kubeconfig$", "kubectl config"),
        ("a: [", None, "is no usable kubeconfig", "kubectl config"),
    ],
    ids=["no current", "stale current", "misspelt", "empty", "a sweep file", "a list", "no YAML"],
)
def test_kubeconfig_that_names_no_cluster_is_refused(
    tmp_path: Path, text: str, context: str | None, message: str, hint: str
) -> None:
    with pytest.raises(SetupError, match=message) as refusal:
        open_cluster(context, None, environ(tmp_path, text))
    assert hint in (refusal.value.hint or "")


@pytest.mark.parametrize("namespace", ["a/b", "Robots", "-a", "a" * 64])
def test_namespace_that_cannot_be_is_refused_before_it_is_asked_for(
    tmp_path: Path, namespace: str
) -> None:
    with pytest.raises(UsageError, match=f"namespace '{namespace}': expected lower-case"):
        open_cluster("lab", namespace, environ(tmp_path, FILE))
