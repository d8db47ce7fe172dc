"""A command that is a shell's script: `bash -c "source setup.sh && exec isaaclab train … \"$@\""`.

Pure. The words behind such a script are its $0, $1, …: the first is a name, not an
argument, and none reaches the trainer unless the script passes them on
(https://pubs.opengroup.org/onlinepubs/9799919799/utilities/sh.html, `-c`).
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweepctl_pod.command import uses_args

_SHELLS = ("sh", "bash", "dash", "ash", "ksh", "mksh", "zsh")
_WITH_VALUE = ("-o", "+o", "-O", "+O", "--rcfile", "--init-file")
_ARGUMENTS = re.compile(r"\$(?:[@*]|\{[@*][^}]*\}|\{?[1-9])|\bshift\b|\bgetopts\b")
_ENDS_COMMAND = ("&&", "||", "|", "&", ";")
_READS_PARAMETERS = ("WANDB_SWEEP_PARAM_PATH", "sweepctl.pod.run")


@dataclass(frozen=True, slots=True)
class ShellScript:
    """A script in a command: the shell's own word, the script's text, and its place."""

    shell: str
    text: str
    index: int

    @property
    def passes_arguments_on(self) -> bool:
        """Whether it does anything with its arguments, or reads the run's parameters itself."""
        reads_itself = any(word in self.text for word in _READS_PARAMETERS)
        return reads_itself or bool(_ARGUMENTS.search(_without_quoted(self.text)))

    @property
    def name(self) -> str:
        """What $0 is by default: the shell's name."""
        return posixpath.basename(self.shell)


def find_script(command: Sequence[str]) -> ShellScript | None:
    """Find the script of a shell in a command; None when it has none."""
    for index, word in enumerate(command):
        if posixpath.basename(word) in _SHELLS:
            return _script_of(command, index)
    return None


def commands_in(command: Sequence[str]) -> list[list[str]]:
    """Give the words of each command in the script of a shell; none where that has no script."""
    script = find_script(command)
    text = script.text.replace("\\\n", " ").replace("\n", " ; ") if script else ""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    try:
        for token in lexer:
            if token in _ENDS_COMMAND:
                found.append([])
            else:
                found[-1].append(token)
    except ValueError:  # a quote that is not closed
        return []
    return [words for words in found if words]


def script_trouble(command: Sequence[str]) -> tuple[str, str] | None:
    """Say why no override would reach the trainer, and what to write; None when they do."""
    script = find_script(command)
    if script is None or script.passes_arguments_on:
        return None
    return (
        f"the script of {script.name} -c passes no arguments on: no override reaches the trainer",
        f'write "$@" where the trainer\'s own words end: {_last_line(script.text)} "$@"',
    )


def lost_argument(command: Sequence[str]) -> tuple[str, str] | None:
    """Say that the first of the user's own arguments becomes $0, as W&B's agent has it too."""
    script = find_script(command)
    following = command[script.index + 1 : script.index + 2] if script else ()
    if script is None or not uses_args(following):
        return None
    return (
        'the first parameter becomes $0 of the script, which "$@" leaves out',
        f"write {script.name} before {following[0]}",
    )


def with_name(command: Sequence[str], is_ours: Callable[[str], bool]) -> list[str]:
    """Put the shell's name behind its script, as $0, where overrides would come first.

    `is_ours` says whether a word stands for overrides; a word of the user's stays.
    """
    words = list(command)
    script = find_script(words)
    if script is not None:
        following = words[script.index + 1 : script.index + 2]
        if not following or is_ours(following[0]):
            words.insert(script.index + 1, script.name)
    return words


def _script_of(command: Sequence[str], shell: int) -> ShellScript | None:
    index, takes_script = shell + 1, False
    while index < len(command):
        word = command[index]
        if word in _WITH_VALUE:
            index += 2
        elif word in ("-", "--"):
            index += 1
            break
        elif word[:1] in "-+" and len(word) > 1:
            takes_script = takes_script or (word[:2] != "--" and word[0] == "-" and "c" in word)
            # `-eo pipefail`: the name behind a cluster that ends with o is the option's value.
            index += 2 if word[:2] != "--" and word.endswith("o") else 1
        else:
            break
    if not takes_script or index >= len(command):
        return None
    return ShellScript(command[shell], command[index], index)


def _last_line(text: str) -> str:
    """Give the line that most likely starts the trainer: the last that names a training."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ended = [line for line in lines if "train" in line and not line.endswith("\\")]
    return (ended or lines or [""])[-1]


def _without_quoted(text: str) -> str:
    """Leave out what stands in single quotes: there $@ is no more than two characters."""
    return re.sub(r"'[^']*'", "''", text)
