"""How to log in: by programs that are there."""

from pathlib import Path

import pytest

from sweepctl.wandb_connection import how_to_log_in

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
