"""The command line as a process: its arguments, its errors, its exit code."""

from __future__ import annotations

import copy
import os
import sys
from typing import Any, NoReturn

import typer

from sweepctl.cli import output
from sweepctl.cli.arguments import current_names, wants_data
from sweepctl_pod.errors import ExitCode, SweepctlError, UsageError


def run(app: typer.Typer) -> NoReturn:
    """Do what the command line says and end the process with its exit code."""
    output.prepare_streams()
    debug = "--debug" in sys.argv[1:]
    arguments = current_names([word for word in sys.argv[1:] if word != "--debug"])
    as_data = wants_data(arguments)
    try:
        code = _app_for(app, arguments)(args=arguments, standalone_mode=False)
    except SweepctlError as error:
        output.complain(error, as_data=as_data)
        code = error.exit_code
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except typer.Abort:
        code = ExitCode.INTERRUPTED
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            _show(error, as_data)
            code = error.exit_code
        elif debug:
            raise
        elif isinstance(error, OSError) and error.errno in output.NO_ROOM:
            code = output.unwritten(error, as_data=as_data)
        else:
            code = output.unexpected(error, as_data=as_data)
    _end(int(code or 0))


def _show(error: Any, as_data: bool) -> None:
    """Show what typer says of a command line that cannot be parsed."""
    if not as_data:
        error.show()
        return
    command = error.ctx.command_path if getattr(error, "ctx", None) else "sweepctl"
    output.complain(UsageError(error.format_message(), f"see {command} --help"), as_data=True)


def _app_for(app: typer.Typer, arguments: list[str]) -> typer.Typer:
    """Give the app with the options of the verb that is asked for, and only the names of others.

    typer reads every option of every verb before it looks at the command line, which takes longer
    than all else of `--help`. The shell's completion has them all.
    """
    if "_SWEEPCTL_COMPLETE" in os.environ:
        return app
    verb = next((word for word in arguments if word[:1] != "-"), None)
    quick = copy.copy(app)
    quick.registered_groups = [group for group in app.registered_groups if group.name == verb]
    quick.registered_commands = []
    for command in app.registered_commands:
        named = copy.copy(command)
        callback = command.callback
        named.name = command.name or getattr(callback, "__name__", "")
        if named.name != verb:
            named.help = command.help or getattr(callback, "__doc__", None)
            named.callback = lambda: None
        quick.registered_commands.append(named)
    return quick


def _end(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            code = output.unwritten(error)
    sys.exit(code)
