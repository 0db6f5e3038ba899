"""A headless Chromium, driven over its own debugging protocol."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64decode
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

from tests.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ANSWER_WITHIN_S = 30.0


class Browser:
    """One page of a browser with a profile of its own in `folder`. Raises RuntimeError for what a
    script throws, and keeps what the page's console says in `said`."""

    def __init__(self, folder: Path, width: int = 1280, height: int = 900) -> None:
        assert CHROMIUM is not None
        log = folder / "chromium.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                    "--disable-dev-shm-usage", "--remote-debugging-port=0",
                    f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}",
                    "about:blank",
                ],
                stdout=output,
                stderr=output,
            )  # fmt: skip
        found = until(
            lambda: re.search(r"listening on ws://([\d.]+:\d+)/", log.read_text()),
            what="Chromium listens",
        )
        pages = httpx.get(f"http://{found[1]}/json", trust_env=False).json()
        page = next(each for each in pages if each["type"] == "page")
        self._held = ExitStack()
        to_page = connect(page["webSocketDebuggerUrl"], max_size=None, proxy=None)
        self._socket = self._held.enter_context(to_page)
        self._calls = 0
        self.said: list[str] = []
        for domain in ("Runtime", "Page", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=ANSWER_WITHIN_S))
            if message.get("id") == self._calls:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message["method"] == "Log.entryAdded":
            self.said.append(params["entry"]["text"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.said.append(str(params["exceptionDetails"]))

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """Of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def text(self, selector: str) -> str:
        """Of the first element of that kind; empty where there is none."""
        return self.value(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def size(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def colors(self, scheme: str) -> None:
        """`light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        self._held.close()
        self._process.terminate()
        self._process.wait(10)
