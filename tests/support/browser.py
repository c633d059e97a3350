"""Chromium without a window, driven over a pipe with the DevTools protocol: no driver, no port, no network."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LIMIT_S = 120.0
"""After this, a browser that does not answer is at fault."""

FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-dev-shm-usage", "--disable-extensions", "--disable-sync", "--disable-background-networking",
    "--disable-component-update", "--hide-scrollbars", "--force-device-scale-factor=1", "--window-size=1280,900",
)  # fmt: skip

_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser reads from descriptor 3 and writes to 4: this puts ours there, whichever they are."""

ABSENT = None if any(map(shutil.which, NAMES)) else f"not installed: {NAMES[0]} (Debian package of that name)"
asks_chromium = pytest.mark.skipif(ABSENT is not None and not os.environ.get("CI"), reason=str(ABSENT))
"""On a machine of CI Chromium has to be there."""


class BrowserError(AssertionError):
    """The browser, or a script in it, did not do what it was asked for."""


class Page:
    """One tab: what it is told, and what it has reported."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.requests: list[str] = []
        self.errors: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command; return its result."""
        return self._browser.call(method, self._session, **parameters)

    def run(self, script: str) -> Any:
        """Return what an expression gives; if that is a promise, what it is kept with."""
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            details = said["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return said["result"].get("value")

    def open(self, address: str) -> None:
        """Load an address, and wait until that is done."""
        self.call("Page.navigate", url=address)
        file = json.dumps(address.split("#", maxsplit=1)[0])
        self.wait(f"document.readyState === 'complete' && location.href.split('#')[0] === {file}")

    def wait(self, condition: str) -> None:
        """Ask until an expression is true. The limit is for a page that never comes to it."""
        begun = time.monotonic()
        while not self.run(condition):
            if time.monotonic() - begun > LIMIT_S:
                raise BrowserError(f"it never came to hold: {condition}")

    def text(self, selector: str) -> str:
        """Return the text of the first element of that kind."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).textContent"))

    def click(self, selector: str) -> None:
        """Click the first element of that kind."""
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key, as a keyboard does."""
        codes = {"Enter": ("\r", 13), "Tab": ("", 9), "Escape": ("", 27), " ": (" ", 32), "ArrowDown": ("", 40),
                 "ArrowUp": ("", 38), "ArrowLeft": ("", 37), "ArrowRight": ("", 39)}  # fmt: skip
        text, code = codes.get(key, (key, ord(key.upper()[0])))
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def resized(self, width: int, height: int = 900) -> None:
        """Show it in a window of this size, in pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def scheme(self, name: str) -> None:
        """Prefer `light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        said = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(said["data"])

    def heard(self, method: str, said: dict[str, Any]) -> None:
        """Note what the tab reports."""
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.errors.append(str([one.get("value") for one in said["args"]]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{said['entry']['text']} ({said['entry'].get('url', '')})")


class Browser:
    """A running Chromium."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._number, self._rest = 0, b""
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}

    def page(self) -> Page:
        """Open an empty tab."""
        target = self.call("Target.createTarget", None, url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", None, targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        return page

    def call(self, method: str, session: str | None, **parameters: Any) -> dict[str, Any]:
        """Send one command, and return its result; what is reported meanwhile goes to its page."""
        self._number += 1
        said: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            said["sessionId"] = session
        data = memoryview(json.dumps(said).encode() + b"\0")
        while data:
            data = data[os.write(self._to, data) :]
        while self._number not in self._answers:
            self._read(method)
        answer = self._answers.pop(self._number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self, method: str) -> None:
        ready, _, _ = select.select([self._back], [], [], LIMIT_S)
        data = os.read(self._back, 1 << 20) if ready else b""
        if not data:
            raise BrowserError(f"{method}: the browser {'has ended' if ready else 'does not answer'}")
        *messages, self._rest = (self._rest + data).split(b"\0")
        for message in messages:
            said = json.loads(message)
            if "id" in said:
                self._answers[said["id"]] = said
            elif said.get("sessionId") in self._pages:
                self._pages[said["sessionId"]].heard(said["method"], said["params"])


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium with a profile of its own; it ends with the context.

    Raises:
        BrowserError: it is not installed.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise BrowserError(str(ABSENT))
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    sandbox = () if os.geteuid() else ("--no-sandbox",)  # as root there is none
    with tempfile.TemporaryDirectory(prefix="bluegreen-chromium-", ignore_cleanup_errors=True) as home:
        launch = [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out), program]
        process = subprocess.Popen(
            [*launch, *FLAGS, *sandbox, f"--user-data-dir={home}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": home},
        )
        os.close(theirs_in)
        os.close(theirs_out)
        browser = Browser(process, ours_out, ours_in)
        try:
            yield browser
            browser.call("Browser.close", None)
        finally:
            os.close(ours_out)
            os.close(ours_in)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def address_of(path: Path) -> str:
    """Return the address of a file."""
    return path.resolve().as_uri()
