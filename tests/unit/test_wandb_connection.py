"""How to log in, by programs that are there; calls that come to nothing."""

import io
from pathlib import Path

import pytest

from sweepctl_pod.wandb.connection import ApiError, Connection, Transport, how_to_log_in

CLOUD = "https://api.wandb.ai"
OWN = "https://wandb.example.org:8443"


@pytest.mark.parametrize(
    ("programs", "url", "said"),
    [
        (["wandb", "uvx"], CLOUD, "set WANDB_API_KEY, or run `wandb login`"),
        (["wandb"], OWN, f"set WANDB_API_KEY, or run `wandb login --host {OWN}`"),
        (["uvx"], CLOUD, "set WANDB_API_KEY, or run `uvx wandb login`"),
        (
            [],
            OWN,
            "set WANDB_API_KEY, or write `machine wandb.example.org login user password KEY`"
            " into ~/.netrc",
        ),
    ],
)
def test_advice_names_a_program_that_is_there(
    programs: list[str], url: str, said: str, tmp_path: Path
) -> None:
    for program in programs:
        (tmp_path / program).touch(0o755)
    assert how_to_log_in(url, {"PATH": str(tmp_path)}) == said


def test_pod_has_no_login_but_its_secret() -> None:
    environ = {"PATH": "/bin", "SWEEPCTL_JOB_UID": "1"}
    assert (
        how_to_log_in(CLOUD, environ) == "check the Secret that the setting wandb.secretName names"
    )


def test_host_that_is_no_name_is_told() -> None:
    with pytest.raises(ApiError, match=r"cannot reach http://a\.\.b"):
        Transport(Connection("http://a..b", "key")).graphql("query {}", {})


def test_answer_that_is_nested_without_end_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = Transport(Connection("http://127.0.0.1:9", "key"))
    monkeypatch.setattr(transport, "open", lambda request: io.BytesIO(b"[" * 200_000))
    with pytest.raises(ApiError, match="no JSON") as raised:
        transport.graphql("query {}", {})
    assert raised.value.is_transient
