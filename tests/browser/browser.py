"""What the tests ask a browser, through Chromium's driver and its DevTools protocol."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By


class Browser:
    """A tab whose width and colours can be chosen."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def show(self, page: Path, width: int, scheme: str = "light", media: str = "screen") -> None:
        """Open `page` in a window `width` CSS pixels wide; forget what was logged before."""
        self._log("performance")
        self._log("browser")
        self._tell(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        self._tell(
            "Emulation.setEmulatedMedia",
            {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        self._tell("Emulation.setFocusEmulationEnabled", {"enabled": True})
        self.driver.get(page.as_uri())

    def run(self, script: str, *arguments: object) -> Any:
        """Return what the body of a JavaScript function returns."""
        return self.driver.execute_script(script, *arguments)

    def requests(self) -> list[str]:
        """Return the addresses that the page asked for since `show`, its own one first."""
        events = [json.loads(each["message"])["message"] for each in self._log("performance")]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
            and event["params"]["documentURL"] == self.driver.current_url
        ]

    def complaints(self) -> list[str]:
        """Return what stands in the console since `show`."""
        return [each["message"] for each in self._log("browser")]

    def tab_through(self, limit: int = 500) -> list[tuple[str, str]]:
        """Press Tab until the focus leaves the page; return what had it: start tag, outline."""
        self.run("document.activeElement.blur()")
        found: list[tuple[str, str]] = []
        for _ in range(limit):
            self.driver.switch_to.active_element.send_keys(Keys.TAB)
            tag: str | None
            tag, outline = self.run(
                "const e = document.activeElement, style = getComputedStyle(e);"
                "return [e === document.body ? null : e.cloneNode(false).outerHTML,"
                " style.outlineStyle + ' ' + style.outlineWidth]"
            )
            if tag is None or (tag, outline) in found[:1]:
                return found
            found.append((tag, outline))
        raise AssertionError("the focus never leaves the page")

    def count(self, selector: str) -> int:
        """Return how many elements match."""
        return len(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def picture(self, file: Path) -> None:
        """Save the whole page as a PNG."""
        self._save(file, "Page.captureScreenshot", {"captureBeyondViewport": True})

    def pdf(self, file: Path) -> None:
        """Save the page as it would be printed on A4."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": False}
        self._tell("Emulation.setEmulatedMedia", {"media": "print"})
        self._save(file, "Page.printToPDF", paper)

    def _save(self, file: Path, command: str, arguments: dict[str, Any]) -> None:
        file.write_bytes(base64.b64decode(self._tell(command, arguments)["data"]))

    def _tell(self, command: str, arguments: dict[str, Any]) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)

    def _log(self, kind: str) -> list[dict[str, Any]]:
        return self.driver.get_log(kind)  # type: ignore[no-untyped-call,no-any-return]
