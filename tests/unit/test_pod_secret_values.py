"""Which words of an environment are secrets, and where they are hidden."""

import pytest

from sweepctl_pod.run.secret_values import Secrets

LONG = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("environ", "text", "told"),
    [
        ({"WANDB_API_KEY": LONG}, f"key {LONG}!", "key ***!"),
        ({"HF_TOKEN": LONG}, f"x{LONG}y", "x***y"),
        ({"db_password": LONG}, LONG, "***"),
        ({"AWS_SECRET_ACCESS_KEY": "a+b/c=d?e f"}, "at a%2Bb%2Fc%3Dd%3Fe%20f", "at ***"),
        ({"GOOGLE_CREDENTIALS": f"one-line-a\n{LONG}\n"}, f"{LONG} one-line-a", "*** ***"),
        ({"MY_KEY": "tiny"}, "a tiny one, --k=tiny, tinyness", "a *** one, --k=***, tinyness"),
        ({"MY_KEY": "1"}, "--n=1 1 11", "--n=1 1 11"),
        ({"MY_KEY": "4096"}, "--num_envs 4096", "--num_envs 4096"),
        ({"TOKENIZERS_PARALLELISM": "false"}, "--x=false", "--x=false"),
        ({"MY_KEY": ""}, "all of it", "all of it"),
        ({"PATH": "/usr/bin:/bin"}, "/usr/bin:/bin", "/usr/bin:/bin"),
        ({"A_KEY": LONG, "B_KEY": f"{LONG}-more"}, f"{LONG}-more {LONG}", "*** ***"),
        ({"A_KEY": "(.*)[a]+"}, "the (.*)[a]+ itself", "the *** itself"),
    ],
    ids=str,
)
def test_secrets_are_hidden_and_nothing_else(environ: dict[str, str], text: str, told: str) -> None:
    assert Secrets(environ).hide(text) == told


def test_secret_in_a_command_becomes_its_variable_so_that_it_can_be_repeated() -> None:
    secrets = Secrets({"DB_PASSWORD": LONG, "lower_key": "another-one"})
    assert secrets.hide_in_command(["a", f"--p={LONG}", "another-one"]) == [
        *("a", "--p=${envvar:DB_PASSWORD}", "***")
    ]
