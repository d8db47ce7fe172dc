"""A sweep's `command` with W&B's macros, expanded to the argv of one run.

Pure. The expansion is exactly the stock agent's
(wandb/sdk/launch/sweeps/utils.py, wandb/wandb_agent.py), plus `${overrides}` and `${checkpoint}`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence

from sweepctl_pod.errors import SweepctlError

DEFAULT_COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
OVERRIDES_MACRO = "${overrides}"
ARGS_JSON_FILE_MACRO = "${args_json_file}"
CHECKPOINT_MACRO = "${checkpoint}"
"""The newest good checkpoint of the run, an empty text where there is none; also within a word."""

_ARGS_MACROS = (
    "${args}",
    "${args_no_equals}",
    "${args_no_hyphens}",
    "${args_no_boolean_flags}",
    "${args_json}",
    ARGS_JSON_FILE_MACRO,
    "${args_append_hydra}",
    "${args_override_hydra}",
    "${args_dict}",
)
OWN_MACROS = (OVERRIDES_MACRO, CHECKPOINT_MACRO)
"""Those that only sweepctl knows: a stock agent leaves them out."""
KNOWN_MACROS = ("${env}", "${interpreter}", "${program}", *_ARGS_MACROS, *OWN_MACROS)
_ITS_OWN_CHECKPOINT = re.compile(r"\bcheckpoint=|\bfor checkpoint\b|\bread (-\w+ )*checkpoint\b")
"""A script that has a variable of the macro's name."""
_ENVVAR = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")


def unknown_macros(command: Sequence[object]) -> list[tuple[int, str]]:
    """Give the macros, with their index, that W&B would drop silently as it does not know them."""
    found = []
    for index, item in enumerate(command):
        text = str(item)
        if _is_macro(text) and text not in KNOWN_MACROS and not _ENVVAR.search(text):
            found.append((index, text))
    return found


def uses_args(command: Sequence[object]) -> bool:
    """Say whether the parameters reach the command as arguments of their own."""
    return any(str(item) in _ARGS_MACROS for item in command)


def unread_variables(word: str) -> list[str]:
    """List the `${envvar:x}` in a word that W&B does not expand, because of their names."""
    return [
        found[0]
        for found in re.finditer(r"\$\{envvar:[^}]*\}", word)
        if not _ENVVAR.match(found[0])
    ]


def takes_overrides(command: Sequence[object]) -> bool:
    """Say whether overrides go into the command: at their macro, else at its end."""
    words = command or DEFAULT_COMMAND
    return OVERRIDES_MACRO in map(str, words) or not uses_args(words)


def environment_names(command: Sequence[object]) -> list[str]:
    """List the variables X that a command names as `${envvar:X}`, each once."""
    return list(dict.fromkeys(name for item in command for name in _ENVVAR.findall(str(item))))


def expand_command(
    command: Sequence[object],
    *,
    config: Mapping[str, object],
    overrides: Sequence[str],
    program: str | None,
    environ: Mapping[str, str],
    args_json_file: str | None = None,
    checkpoint: str = "",
) -> list[str]:
    """Give the argv of one run.

    `config` is the run's {name: value} in W&B's order as the stock agent has it
    (`RunParameters.given`). `overrides` go where `${overrides}` stands, else to the
    end unless an `${args…}` macro is used. Whoever uses `${args_json_file}` has written that file
    (`args_json`) and gives its path. `checkpoint` is the newest good checkpoint's path, if any.
    """
    words = {
        "${env}": ["/usr/bin/env"],
        "${interpreter}": ["python"],
        OVERRIDES_MACRO: list(overrides),
        **_args_words(config),
    }
    argv: list[str] = []
    for item in command or DEFAULT_COMMAND:
        text = _ENVVAR.sub(lambda match: environ.get(match[1], match[1]), str(item))
        if CHECKPOINT_MACRO in text and not _ITS_OWN_CHECKPOINT.search(text):
            argv.append(text.replace(CHECKPOINT_MACRO, checkpoint))
        elif text == "${program}":
            argv.append(_required(program, text, "add `program: train.py` to the sweep"))
        elif text == ARGS_JSON_FILE_MACRO:
            argv.append(_required(args_json_file, text, "use ${args_json} instead"))
        elif _is_macro(text):
            argv += words.get(text, [])
        else:
            argv.append(text)
    if OVERRIDES_MACRO not in map(str, command) and takes_overrides(command):
        argv += overrides
    return argv


def shell_line(argv: Sequence[str]) -> str:
    """Write an argv so that it can be pasted into a shell and still be read.

    A literal dictionary is full of single quotes: it stands in double quotes where nothing in it
    means something to a shell there.
    """
    return " ".join(
        f'"{word}"' if "'" in word and not re.search(r'["$`\\!]', word) else shlex.quote(word)
        for word in argv
    )


def args_json(config: Mapping[str, object]) -> str:
    """Give the text of `${args_json}`, which is also that of the file of `${args_json_file}`."""
    return json.dumps(dict(config))


def _args_words(config: Mapping[str, object]) -> dict[str, list[str]]:
    pairs = [f"{name}={value}" for name, value in config.items()]
    flags = []
    for name, value in config.items():
        if not isinstance(value, bool):
            flags.append(f"--{name}={value}")
        elif value:
            flags.append(f"--{name}")
    return {
        "${args}": [f"--{pair}" for pair in pairs],
        "${args_no_equals}": [w for k, v in config.items() for w in (f"--{k}", str(v))],
        "${args_no_hyphens}": pairs,
        "${args_no_boolean_flags}": flags,
        "${args_json}": [args_json(config)],
        "${args_append_hydra}": [f"+{pair}" for pair in pairs],
        "${args_override_hydra}": [f"++{pair}" for pair in pairs],
        "${args_dict}": list(config),  # an accident of W&B's agent: the names alone
    }


def _is_macro(text: str) -> bool:
    return text.startswith("${") and text.endswith("}")


def _required(value: str | None, macro: str, hint: str) -> str:
    if value is None:
        raise SweepctlError(f"the command uses {macro}, and there is none", hint=hint)
    return value
