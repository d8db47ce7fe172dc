"""`--set` as Helm reads it; the good cases were seen in `helm template --set` of Helm 4.3.1."""

import pytest

from sweepctl.values.set_flags import assign, parse_set
from sweepctl.values.settings import flag_settings, load_values
from sweepctl_pod.errors import SpecError


def read(*texts: str) -> dict[str, object]:
    tree: dict[str, object] = {}
    for ordinal, text in enumerate(texts, 1):
        for assignment in parse_set(text, ordinal):
            assign(tree, assignment, text, ordinal)
    return tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        pytest.param("agents=8", {"agents": 8}, id="integer"),
        pytest.param("a=-5,b=+5,c=0", {"a": -5, "b": 5, "c": 0}, id="signed"),
        pytest.param("a=0.5", {"a": "0.5"}, id="a float is text"),
        pytest.param("a=1e3", {"a": "1e3"}, id="an exponent is text"),
        pytest.param("a=007", {"a": "007"}, id="leading zeros are text"),
        pytest.param("a=9223372036854775808", {"a": "9223372036854775808"}, id="beyond int64"),
        pytest.param("a=TRUE,b=false", {"a": True, "b": False}, id="truth values"),
        pytest.param("a=null", {"a": None}, id="null"),
        pytest.param("a=", {"a": ""}, id="nothing"),
        pytest.param("a=,b=1", {"a": "", "b": 1}, id="nothing, then more"),
        pytest.param("a=b,", {"a": "b"}, id="comma at the end"),
        pytest.param("a==b", {"a": "=b"}, id="equals sign in the value"),
        pytest.param("a= b ,c=d", {"a": " b ", "c": "d"}, id="blanks stay"),
        pytest.param("image.tag=3.0.0", {"image": {"tag": "3.0.0"}}, id="nested"),
        pytest.param("a=1,a=2", {"a": 2}, id="the last wins"),
        pytest.param(
            r"nodeSelector.kubernetes\.io/arch=arm64",
            {"nodeSelector": {"kubernetes.io/arch": "arm64"}},
            id="escaped dot",
        ),
        pytest.param(r"a=b\,c", {"a": "b,c"}, id="escaped comma"),
        pytest.param("a={1,b,true}", {"a": [1, "b", True]}, id="list"),
        pytest.param(r"a={x\,y,z}", {"a": ["x,y", "z"]}, id="list with escaped comma"),
        pytest.param("a={1,2},b=3", {"a": [1, 2], "b": 3}, id="list, then more"),
        pytest.param("a[0]=x", {"a": ["x"]}, id="index"),
        pytest.param(
            "a[0].b=1,a[0].c=2,a[1].b=3", {"a": [{"b": 1, "c": 2}, {"b": 3}]}, id="maps in a list"
        ),
        pytest.param("a[0][0]=1,a[0][1]=2", {"a": [[1, 2]]}, id="lists in a list"),
    ],
)
def test_set_gives_what_helm_gives(text: str, tree: dict[str, object]) -> None:
    assert read(text) == tree


def test_braces_with_nothing_inside_are_an_empty_list() -> None:
    assert read("pythonPath={}") == {"pythonPath": []}  # Helm makes [""] of it, which nobody means


def test_later_flags_add_to_earlier_ones() -> None:
    assert read("a.b=1", "a.c=2", "d[0]=x", "d[1]=y") == {
        "a": {"b": 1, "c": 2},
        "d": ["x", "y"],
    }


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        pytest.param("agents", 1, "'agents' has no value", id="no value"),
        pytest.param("a=1,b", 5, "'b' has no value", id="second has no value"),
        pytest.param("a,b=1", 1, "'a' has no value", id="comma before the value"),
        pytest.param("=1", 1, "a name is missing before '='", id="no name"),
        pytest.param(".a=1", 1, "a name is missing before '.'", id="dot first"),
        pytest.param("a.=1", 3, "a name is missing before '='", id="dot last"),
        pytest.param("", 1, "there is nothing to set", id="empty"),
        pytest.param("a[x]=1", 2, "this is no place in a list", id="index is a word"),
        pytest.param("a[-1]=1", 2, "this is no place in a list", id="index is negative"),
        pytest.param("a[70000]=1", 2, "this is no place in a list", id="index is huge"),
        pytest.param("a[0]b=1", 5, "expected '=', '.' or '[' after ']'", id="text after index"),
        pytest.param("a[1]=x", 1, "the list has 0 items; [1] would leave a gap", id="gap"),
        pytest.param("a={1,2", 3, "the list does not end", id="open list"),
        pytest.param("a={1}x", 6, "expected ',' after the list", id="text after list"),
    ],
)
def test_set_refuses_and_points_into_the_flag(text: str, place: int, message: str) -> None:
    with pytest.raises(SpecError) as refusal:
        read("agents=1", text)
    (problem,) = refusal.value.problems
    assert (problem.file, problem.line, problem.column) == ("--set", 2, place)
    assert problem.message == message
    assert problem.hint


def test_flags_reach_the_settings_by_one_table() -> None:
    given = {
        "--agents": 4,
        "--gpus-per-agent": None,
        "--with-server": False,
        "--image": "lab:3.0.0",
    }
    settings = flag_settings(given)
    assert settings == {
        "agents": 4,
        "image.repository": "lab",
        "image.digest": "",
        "image.tag": "3.0.0",
    }
    assert load_values([], ["gpus=2"], overrides=settings).by_flag == settings.keys()
    with pytest.raises(KeyError):
        flag_settings({"--agent": 4})
