"""A headless Chromium driven over a pipe, to look at pages as a person would.

`bench/report_size.py` and the tests of the report use it.

Chromium's own protocol (DevTools) runs over two file descriptors, so neither a port nor a library is needed.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 60
"""Seconds without a word after which a browser is given up."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def chromium() -> str | None:
    """Return the browser's executable; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of one browser, at a chosen size; what it asks for and complains of is kept in `events`."""

    def __init__(self, commands: int, replies: int) -> None:
        self._commands = commands
        self._replies = replies
        self._received = b""
        self._last = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the result of one command; RuntimeError when the browser refuses it or is gone."""
        self._last += 1
        asked = {"id": self._last, "method": method, "params": params}
        asked |= {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps(asked).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._last:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return dict(message["result"])
            self.events.append(message)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            if not select.select([self._replies], [], [], PATIENCE)[0]:
                raise RuntimeError(f"the browser has said nothing for {PATIENCE} s")
            more = os.read(self._replies, 1 << 20)
            if not more:
                raise RuntimeError("the browser is gone")
            self._received += more
        message, self._received = self._received.split(b"\0", 1)
        return dict(json.loads(message))

    def close(self) -> None:
        """End the browser."""
        self._session = ""
        self.call("Browser.close")
        os.close(self._replies)
        os.close(self._commands)

    def size(self, width: int, height: int, phone: bool = False) -> None:
        """Make the window this large, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def media(self, kind: str = "screen", scheme: str = "light") -> None:
        """Show the page as on a screen or in print, light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", media=kind, features=[feature])

    def load(self, page: Path) -> None:
        """Load a file; events of an earlier page are forgotten."""
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def open(self, page: Path) -> None:
        """Load a file, and wait until it has been painted."""
        self.load(page)
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def run(self, script: str) -> Any:
        """Return the value of a script, awaited; RuntimeError when it throws."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def key(self, name: str, text: str = "") -> None:
        """Press and release a key: Tab, Enter, ArrowLeft, or a sign with its text."""
        more = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, **more, **_codes(name))
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, **_codes(name))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one place and let it go at another; a click where both are the same."""
        told = {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **told)
        if start != end:
            for step in (0.5, 1.0):
                x, y = (a + step * (b - a) for a, b in zip(start, end, strict=True))
                self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], **told)

    def picture(self, top: float = 0, height: float | None = None) -> bytes:
        """Return a PNG of the page from `top`, over its whole width: the whole page without `height`."""
        box = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": top, "width": box["width"], "height": height or box["height"] - top, "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def pdf(self) -> bytes:
        """Return the page as it would be printed on A4."""
        found = self.call("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(found["data"])

    def complaints(self) -> list[str]:
        """Return what the console showed as errors or warnings, and scripts that threw."""
        told = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Log.entryAdded":
                told.append(f"{params['entry']['level']}: {params['entry']['text']}")
            elif event.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                told.append(json.dumps(params)[:500])
        return told

    def requests(self) -> list[str]:
        """Return every address that was asked for, pictures inside the page left out."""
        asked = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        addresses = [str(event["params"]["request"]["url"]) for event in asked]
        return [address for address in addresses if not address.startswith("data:")]


def _codes(name: str) -> dict[str, int]:
    known = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}
    return {"windowsVirtualKeyCode": known[name]} if name in known else {}


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it; RuntimeError where there is none."""
    executable = chromium()
    if executable is None:
        raise RuntimeError("no Chromium on PATH")
    to_browser, commands = os.pipe()
    replies, from_browser = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options += ["--no-first-run", "--disable-extensions", "--remote-debugging-pipe"]
        # The protocol's descriptors are 3 and 4 by definition.
        wired = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
        started = subprocess.Popen(
            ["bash", "-c", wired, "bash", executable, *options, f"--user-data-dir={profile}"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            page = Browser(commands, replies)
            try:
                yield page
            finally:
                page.close()
        finally:
            started.terminate()
            started.wait(timeout=20)
