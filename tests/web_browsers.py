"""The browsers that the page is tested in, one interface for all: Chromium, Firefox, WebKit."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import web_bidi
import web_driver
import web_visitor
from web_tab import PageError, Tab


@contextmanager
def open_tab(browser: str) -> Iterator[Tab]:
    """Starts "firefox" or "webkit", with a camera that shows a test picture, and yields a tab of it.

    Skips where it is not installed, and says how to install it.
    """
    found = {"firefox": _firefox, "webkit": _webkit}[browser]()
    if missing := [remedy for name, remedy in found if not name]:
        pytest.skip(f"the page's tests in {browser} need {' and '.join(missing)}; `make browser` brings them")
    start = {"firefox": web_bidi.firefox, "webkit": web_driver.webkit}[browser]
    with start(*[name for name, _ in found if isinstance(name, str)]) as tab:
        yield tab


def _firefox() -> list[tuple[str | bool | None, str]]:
    """What Firefox needs, each with how to install it; arguments of its start are paths."""
    binary = os.environ.get("SIB_FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")
    client = importlib.util.find_spec("websockets") is not None
    return [
        (binary, "Firefox (apt-get install firefox-esr, or SIB_FIREFOX=/path)"),
        (client, "websockets (pip install -e '.[web]')"),
        _packages(),
    ]


def _webkit() -> list[tuple[str | bool | None, str]]:
    return [
        (shutil.which("WebKitWebDriver"), "WebKit's driver (apt-get install webkit2gtk-driver)"),
        (web_driver.mini_browser(), "WebKit's MiniBrowser (apt-get install libwebkit2gtk-4.1-0)"),
        (shutil.which("Xvfb") is not None, "a screen that nobody sees (apt-get install xvfb)"),
        _packages(),
    ]


def _packages() -> tuple[bool, str]:
    there = (web_visitor.PAGE / "node_modules" / "@litertjs" / "core").is_dir()
    return there, "the page's packages (npm ci --prefix export/web)"


class ChromiumTab(Tab):
    """See `Tab`."""

    def __init__(self, browser):
        super().__init__(f"Chromium {browser.version}")
        self.page = browser.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, url: str) -> None:
        self.page.goto(url)

    def evaluate(self, function: str, argument=None):
        from playwright.sync_api import Error

        try:
            return self.page.evaluate(function, argument)
        except Error as error:
            raise PageError(error.message) from None

    def click(self, selector: str) -> None:
        self.page.click(selector)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def choose_files(self, selector: str, files: Sequence[Path]) -> None:
        self.page.set_input_files(selector, [str(file) for file in files])

    def download(self, act: Callable) -> bytes:
        with self.page.expect_download() as download:
            act()
        return Path(download.value.path()).read_bytes()

    def resize(self, width: int, height: int) -> None:
        self.page.set_viewport_size({"width": width, "height": height})

    def screenshot(self, path: Path) -> None:
        self.page.screenshot(path=str(path))
