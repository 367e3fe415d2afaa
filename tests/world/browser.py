"""Debian's Chromium, driven by the DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import connect

from world.waiting import PATIENCE_S, eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One headless browser with one page; keeps what its console said and which URLs it asked for."""

    def __init__(self, directory: Path) -> None:
        assert CHROMIUM, "these tests need Chromium: apt-get install chromium (scripts/setup dev does it)"
        profile = directory / "profile"
        with (directory / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    CHROMIUM,
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--remote-debugging-port=0",
                    f"--user-data-dir={profile}",
                    "about:blank",
                ],
                stdout=log,
                stderr=log,
            )
        self.complaints: list[str] = []
        """Errors and warnings of the console, and exceptions."""
        self.asked: list[str] = []
        """The URL of each request."""
        self._numbers = itertools.count(1)
        self._open = ExitStack()
        try:
            file = profile / "DevToolsActivePort"
            assert eventually(lambda: file.exists() and file.read_text().count("\n")), (
                "Chromium did not start"
            )
            port, path = file.read_text().split("\n")[:2]
            self._socket = self._open.enter_context(
                connect(
                    f"ws://127.0.0.1:{port}{path}", max_size=None, open_timeout=PATIENCE_S, ping_interval=None
                )
            )
            self._session: str | None = None
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; what comes meanwhile is noted."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(PATIENCE_S))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif method == "Page.javascriptDialogOpening":
            # answered without waiting: the page waits, and with it whatever asked it
            answer = {"accept": True, "promptText": params.get("defaultPrompt", "")}
            self._socket.send(
                json.dumps(
                    {
                        "id": next(self._numbers),
                        "method": "Page.handleJavaScriptDialog",
                        "params": answer,
                        "sessionId": self._session,
                    }
                )
            )

    def open(self, url: str, token: str | None = None) -> None:
        """Go to a page; the token is the password of Basic authentication, as somebody would type it."""
        if token is not None:
            basic = base64.b64encode(f"admin:{token}".encode()).decode()
            self.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {basic}"})
        self.call("Page.navigate", url=url)
        assert eventually(lambda: self.run("document.readyState") == "complete")

    def run(self, script: str) -> Any:
        """Return what an expression is in the page; a promise is waited for."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true."""
        assert eventually(lambda: self.run(script)), f"never true: {script}"

    def press_enter(self) -> None:
        """Press and release Enter; a question that the page then asks is answered with yes."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                windowsVirtualKeyCode=13,
                text="\r" if kind == "keyDown" else "",
            )
        self.run("0")  # a page that asks something does nothing else before it is answered, by `_note`

    def screenshot(self, file: Path, width: int, height: int, *, dark: bool = False) -> None:
        """Write a PNG of the page at that size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        image = self.call("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(image))

    @property
    def origins(self) -> set[str]:
        """The origins of the URLs that the page has requested."""
        parts = [urlsplit(url) for url in self.asked]
        return {f"{each.scheme}://{each.netloc}" for each in parts if each.scheme != "data"}

    def close(self) -> None:
        self._open.close()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
