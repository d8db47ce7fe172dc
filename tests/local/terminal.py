"""A real terminal for tests: tmux, driven from outside, and what it shows."""

import os
import shlex
import subprocess
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.serving import wait_for

PROMPT = "ready$"
_SHELL = f"env PS1='{PROMPT} ' bash --norc --noprofile -i"


class Terminal:
    """One tmux server of its own with one window, in which a shell runs."""

    def __init__(self, folder: Path, columns: int, lines: int, environ: Mapping[str, str]) -> None:
        self._socket = f"sweepctl-test-{uuid.uuid4().hex[:8]}"
        self._stream = folder / "terminal.stream"
        self._environ = {**environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        size = ("-x", str(columns), "-y", str(lines))
        # No configuration of the user's, and the window's size is what the test says.
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, _SHELL)
        self._tmux("set-option", "-g", "status", "off")
        self._tmux("set-option", "-g", "window-size", "manual")
        self.resize(columns, lines)
        self.wait_for(lambda screen: PROMPT in screen)

    def type(self, *command: str) -> None:
        """Type a command line and press Enter; what is written from then on is kept."""
        self._stream.unlink(missing_ok=True)
        self._tmux("pipe-pane", "-O", f"cat >> {shlex.quote(str(self._stream))}")
        self._tmux("send-keys", "-l", f"clear; {shlex.join(command)}")
        self._tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press one key, as tmux names it."""
        self._tmux("send-keys", key)

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def screen(self) -> str:
        """Give what a person sees."""
        return self._tmux("capture-pane", "-p")

    def scrolled_away(self) -> int:
        """Count the lines that have left the screen at its top."""
        return int(self._tmux("display-message", "-p", "#{history_size}"))

    def stream(self) -> str:
        """Give every character that was written since the command was typed."""
        return self._stream.read_text("utf-8", "replace") if self._stream.exists() else ""

    def wait_for(self, shows: Callable[[str], object], limit_s: float = 60.0) -> str:
        """Wait until the screen shows something; give the screen."""
        seen = ""

        def look() -> bool:
            nonlocal seen
            seen = self.screen()
            return bool(shows(seen))

        try:
            wait_for("the screen", look, limit_s=limit_s, pause_s=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{seen}") from None
        return seen

    def close(self) -> None:
        """End tmux and all that runs in it."""
        self._tmux("kill-server")

    def _tmux(self, *command: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, *command],
            env={**os.environ, **self._environ},
            capture_output=True,
            encoding="utf-8",
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
