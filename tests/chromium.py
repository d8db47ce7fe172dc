"""A real Chromium without a window, for tests: opens pages, runs scripts, reads its cookies."""

import base64
import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import websocket

from tests.serving import wait_for
from tests.testbed import requirements

_COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
_LEVELS = ("error", "warning")
_NOTED = (*_COMPLAINTS, "Network.requestWillBeSent")


class Chromium:
    """One browser with a profile of its own and one tab, spoken to by its DevTools protocol.

    It is installed where that is possible. `names` are host names that it resolves to addresses of
    this machine; nothing else is resolved.

    Raises:
        BedUnavailable: there is none, and it cannot be installed.
    """

    def __init__(self, folder: Path, names: dict[str, str]) -> None:
        program = requirements.program("chromium", "chromium")
        profile = folder / "profile"
        rules = [f"MAP {name} {address}" for name, address in names.items()]
        command = [
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--no-proxy-server"),
            *("--disable-dev-shm-usage", "--remote-debugging-port=0", "--remote-allow-origins=*"),
            f"--user-data-dir={profile}",
            f"--host-resolver-rules={','.join([*rules, 'MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'])}"
            ",EXCLUDE localhost,EXCLUDE 127.0.0.2",
            "about:blank",
        ]
        with (folder / "chromium.log").open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        told = profile / "DevToolsActivePort"
        wait_for("Chromium", lambda: told.exists() and len(told.read_text().split()) == 2)
        port, path = told.read_text().split()
        self._socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=60)
        self._numbers = itertools.count(1)
        self._told: list[dict[str, Any]] = []
        self._session: str | None = None
        tab = self._call("Target.createTarget", url="about:blank")["targetId"]
        opened = self._call("Target.attachToTarget", targetId=tab, flatten=True)
        self._session = opened["sessionId"]
        for domain in ("Log", "Network", "Runtime"):
            self._call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        self._session = None
        try:
            self._call("Browser.close")
            self._process.wait(20)
        except (OSError, websocket.WebSocketException, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._socket.close()

    def open(self, address: str) -> None:
        """Open a page and wait until it is there."""
        failed = self._call("Page.navigate", url=address).get("errorText")
        assert failed is None, f"{address}: {failed}"
        self.wait_until("document.readyState == 'complete' && location.href != 'about:blank'")

    def look(self, width: int, height: int = 800, *, is_dark: bool = False) -> None:
        """Have a window of a size, and light or dark pages."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, *, height: int | None = None) -> bytes:
        """Give a PNG of the page: all of it, or of so much from its top."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "scale": 1}
        shot = self._call(
            "Page.captureScreenshot",
            captureBeyondViewport=True,
            clip={**clip, "height": height or min(16000, size["height"])},
        )
        return base64.b64decode(shot["data"])

    def press(self, key: str) -> None:
        """Press a key that writes nothing, as Tab."""
        codes = {"Tab": 9, "Enter": 13}
        press = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self._call("Input.dispatchKeyEvent", type="keyDown", **press, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", **press)

    def leave(self) -> None:
        """Open an empty page, and forget what was noted until then."""
        self._call("Page.navigate", url="about:blank")
        self.run("return 1")
        self._told = []

    def complaints(self) -> list[str]:
        """Give the errors and warnings that the console got since the last time."""
        self.run("return 1")
        told, self._told = self._told, []
        found = [each["params"] for each in told if each["method"] in _COMPLAINTS]
        return [
            str(each.get("entry", each).get("text") or each)
            for each in found
            if each.get("entry", each).get("level", each.get("type", "error")) in _LEVELS
        ]

    def asked(self) -> list[str]:
        """Give the addresses that pages have asked for, of what is not forgotten yet."""
        self.run("return 1")
        sent = [each for each in self._told if each["method"] == "Network.requestWillBeSent"]
        return [str(each["params"]["request"]["url"]) for each in sent]

    def wait_until(self, condition: str) -> None:
        """Wait until an expression of the page's own is true."""
        wait_for(condition, lambda: self.run(f"return Boolean({condition})"), limit_s=60)

    def run(self, script: str) -> Any:
        """Run the body of an async function in the page; give what it returns."""
        answer = self._call(
            "Runtime.evaluate",
            expression=f"(async () => {{ {script} }})()",
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            # The page has gone on meanwhile, or the script is wrong.
            return None
        return answer["result"].get("value")

    def switch_scripts(self, *, are_on: bool) -> None:
        """Let pages run scripts, or not."""
        self._call("Emulation.setScriptExecutionDisabled", value=not are_on)

    def text(self) -> str:
        """Give the text that the page shows."""
        return str(self.run("return document.body.innerText"))

    def cookies(self) -> list[dict[str, Any]]:
        """Give all cookies of the browser."""
        found: list[dict[str, Any]] = self._call("Network.getAllCookies")["cookies"]
        return found

    def forget(self) -> None:
        """Delete all cookies."""
        self._call("Network.clearBrowserCookies")

    def run_first(self, script: str) -> None:
        """Have a script run in every page before its own."""
        self._call("Page.enable")
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def scripts(self, are_run: bool) -> None:
        """Have pages run their scripts or not; `run` works on either."""
        self._call("Emulation.setScriptExecutionDisabled", value=not are_run)

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        self._socket.send(json.dumps({"id": number, "method": method, "params": params, **session}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("method") in _NOTED:
                self._told.append(answer)
            if answer.get("id") == number:
                if "error" in answer:
                    # A script whose page goes away ends so.
                    return {"exceptionDetails": answer["error"]}
                result: dict[str, Any] = answer["result"]
                return result
