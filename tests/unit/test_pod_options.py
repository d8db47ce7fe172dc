"""The agent's command line and the same words in its environment."""

from pathlib import Path

import pytest

from sweepctl_pod.errors import UsageError
from sweepctl_pod.find_sweep import UnnamedSweep
from sweepctl_pod.options import agent_host, read_options, read_wrapper_options
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.run.checkpoints import CheckpointRule
from sweepctl_pod.run.verdict import SettingsRule


def test_defaults_are_those_of_a_pod() -> None:
    options = read_options(["--sweep", "e/p/s"], {})
    assert (options.entity, options.project, options.sweep_id) == ("e", "p", "s")
    assert (options.count, options.grammar, options.preflight_gpu) == (None, None, "auto")
    assert (options.grace_s, options.refused_limit_s) == (30.0, 300.0)
    assert (options.max_initial_failures, options.asker, options.is_in_job) == (3, "job", False)
    assert (options.settings, options.close_limit_s) == (SettingsRule.REPORT, 600.0)
    assert options.work == Path("sweepctl-work").absolute()


def test_environment_says_the_same_and_the_command_line_wins() -> None:
    environ = {
        "SWEEPCTL_SWEEP": "e/p/s",
        "SWEEPCTL_COUNT": "3",
        "SWEEPCTL_WORK": "/w",
        "SWEEPCTL_GRAMMAR": "hydra",
        "SWEEPCTL_PREFLIGHT_GPU": "off",
        "SWEEPCTL_GRACE_S": "120",
        "SWEEPCTL_REFUSED_LIMIT_S": "5",
        "SWEEPCTL_MIN_FREE_MB": "9",
        "SWEEPCTL_MAX_INITIAL_FAILURES": "7",
        "SWEEPCTL_SETTINGS": "require",
        "SWEEPCTL_CLOSE_LIMIT_S": "30",
        "JOB_COMPLETION_INDEX": "2",
    }
    options = read_options(["--count", "4", "--grammar", "literal"], environ)
    assert (options.sweep_id, options.count, options.work) == ("s", 4, Path("/w"))
    assert (options.grammar, options.preflight_gpu) == (Grammar.LITERAL, "off")
    assert (options.grace_s, options.refused_limit_s, options.min_free_mb) == (120.0, 5.0, 9)
    assert (options.max_initial_failures, options.is_in_job) == (7, True)
    assert (options.settings, options.close_limit_s) == (SettingsRule.REQUIRE, 30.0)


def test_what_is_said_of_checkpoints_is_read_alike_by_agent_and_wrapper() -> None:
    environ = {
        "SWEEPCTL_SWEEP": "e/p/s",
        "SWEEPCTL_CHECKPOINT_COMPANION": "off",
        "SWEEPCTL_CHECKPOINT_EVERY_S": "60",
        "SWEEPCTL_CHECKPOINT_KEEP": "3",
        "SWEEPCTL_CHECKPOINT_PATTERN": "*.pt",
        "SWEEPCTL_CHECKPOINT_URI": "s3://bucket/runs",
    }
    rule = CheckpointRule(False, 60.0, 3, "*.pt", "s3://bucket/runs")
    assert read_options([], environ).checkpoints == rule
    assert read_wrapper_options(environ).checkpoints == rule
    typed = read_options(["--checkpoint-pattern", "*.ckpt"], environ).checkpoints
    assert (typed.pattern, typed.uri) == ("*.ckpt", "s3://bucket/runs")
    assert read_options(["--sweep", "e/p/s"], {}).checkpoints == CheckpointRule()


@pytest.mark.parametrize("name", ["", "s", "p/s", "e/p/s/x", "e//s"])
def test_name_that_is_not_whole_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="does not name a sweep"):
        read_options(["--sweep", name], {})


@pytest.mark.parametrize(
    ("argv", "environ"),
    [
        (["--count", "0"], {}),
        (["--count", "x"], {}),
        (["--grace-s", "-1"], {}),
        (["--grace-s", "nan"], {}),
        (["--grammar", "yaml"], {}),
        (["--max-initial-failures", "-1"], {}),
        (["--max-initial-failures", "never"], {}),
        ([], {"WANDB_AGENT_MAX_INITIAL_FAILURES": "many"}),
        (["--asker", "boss"], {}),
        (["--settings", "required"], {}),
        (["--close-limit-s", "-5"], {}),
        ([], {"SWEEPCTL_SETTINGS": "Require"}),
        ([], {"SWEEPCTL_CLOSE_LIMIT_S": "10m"}),
        ([], {"SWEEPCTL_GRAMMAR": "yaml"}),
        ([], {"SWEEPCTL_PREFLIGHT_GPU": "on"}),
        ([], {"SWEEPCTL_ASKER": "boss"}),
        (["--no-such-flag"], {}),
        ([], {"SWEEPCTL_COUNT": "many"}),
        ([], {"SWEEPCTL_GRACE_S": "inf"}),
    ],
)
def test_value_that_makes_no_sense_is_a_usage_error(
    argv: list[str], environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        read_options(["--sweep", "e/p/s", *argv], environ)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environ", "index", "host"),
    [
        ({"SWEEPCTL_HOST": "h"}, None, "h"),
        ({"SWEEPCTL_HOST": "h"}, 3, "h-3"),
        ({"SWEEPCTL_HOST": "legs-0123abcd-3", "JOB_COMPLETION_INDEX": "3"}, 3, "legs-0123abcd-3"),
    ],
    ids=["alone", "one-of-several-here", "in-a-job-the-pods-name-has-it"],
)
def test_agents_of_one_machine_have_names_of_their_own(
    environ: dict[str, str], index: int | None, host: str
) -> None:
    assert agent_host(environ, index) == host


IN_A_JOB = {
    "SWEEPCTL_SWEEP_FILE": "/etc/sweepctl/sweep.yaml",
    "SWEEPCTL_NAMESPACE": "robots",
    "SWEEPCTL_NAME": "legs",
    "SWEEPCTL_JOB_UID": "1234",
    "JOB_COMPLETION_INDEX": "3",
}


def test_without_a_sweeps_id_the_sweep_comes_from_the_jobs_file() -> None:
    options = read_options([], {**IN_A_JOB, "WANDB_PROJECT": "gaits", "WANDB_ENTITY": ""})
    assert options.source == UnnamedSweep(
        Path("/etc/sweepctl/sweep.yaml"), "robots", "legs", "1234", 3, None, "gaits"
    )
    assert options.source.delay_s == 6.0
    assert read_options(["--sweep", "e/p/s"], IN_A_JOB).source is None
    assert read_options([], {**IN_A_JOB, "SWEEPCTL_SWEEP": "e/p/s"}).source is None


@pytest.mark.parametrize(("text", "seed"), [("", None), ("0", 0), ("7", 7), ("x", ""), ("-1", "")])
def test_the_seed_of_a_sweep_that_is_created_is_a_whole_number(text: str, seed: object) -> None:
    environ = {**IN_A_JOB, "SWEEPCTL_SEED": text}
    if seed == "":
        with pytest.raises(UsageError, match=f"SWEEPCTL_SEED: expected .*, found '{text}'"):
            read_options([], environ)
        return
    source = read_options([], environ).source
    assert source is not None
    assert source.seed == seed


@pytest.mark.parametrize("missing", sorted(set(IN_A_JOB) - {"JOB_COMPLETION_INDEX"}))
def test_outside_a_job_a_sweep_has_to_be_named(missing: str) -> None:
    environ = {key: value for key, value in IN_A_JOB.items() if key != missing}
    with pytest.raises(UsageError, match="does not name a sweep"):
        read_options([], environ)


@pytest.mark.parametrize(("index", "delay_s"), [(0, 0), (1, 2), (30, 60), (31, 60), (9999, 60)])
def test_agents_begin_one_after_the_other_a_minute_at_most(index: int, delay_s: float) -> None:
    assert UnnamedSweep(Path(), "robots", "legs", "1234", index).delay_s == delay_s


def test_wrapper_reads_the_agents_words_in_its_environment() -> None:
    options = read_wrapper_options({})
    assert (options.grammar, options.settings, options.close_limit_s) == (None, "report", 600.0)
    environ = {
        "SWEEPCTL_GRAMMAR": "hydra",
        "SWEEPCTL_SETTINGS": "require",
        "SWEEPCTL_CLOSE_LIMIT_S": "5",
    }
    options = read_wrapper_options(environ)
    assert (options.grammar, options.settings) == (Grammar.HYDRA, SettingsRule.REQUIRE)
    assert options.close_limit_s == 5.0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SWEEPCTL_GRAMMAR", "yaml"),
        ("SWEEPCTL_SETTINGS", "yes"),
        ("SWEEPCTL_CLOSE_LIMIT_S", "nan"),
        ("SWEEPCTL_CLOSE_LIMIT_S", "ten"),
        ("SWEEPCTL_BELIEVED_AFTER_S", "soon"),
    ],
)
def test_wrapper_names_the_variable_that_makes_no_sense(variable: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{variable}: '{value}' is no"):
        read_wrapper_options({variable: value})


@pytest.mark.parametrize(("text", "seconds"), [("", 30.0), ("1.5", 1.5), ("0", 0.0)])
def test_agent_and_wrapper_read_how_long_a_missing_run_must_be_missing(
    text: str, seconds: float
) -> None:
    environ = {"SWEEPCTL_BELIEVED_AFTER_S": text}
    assert read_wrapper_options(environ).believed_after_s == seconds
    assert read_options(["--sweep", "e/p/s"], environ).believed_after_s == seconds


def test_agent_names_the_variable_that_makes_no_sense() -> None:
    with pytest.raises(UsageError, match="SWEEPCTL_BELIEVED_AFTER_S: 'soon' is no number"):
        read_options(["--sweep", "e/p/s"], {"SWEEPCTL_BELIEVED_AFTER_S": "soon"})
