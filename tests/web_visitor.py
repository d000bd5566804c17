"""The web page in a real browser: a server for it, headless Chromium, and what a visitor does."""

import functools
import http.server
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import CHECKOUT
from local_server import listening

PAGE = CHECKOUT / "export" / "web"
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
_NO_GPU = ["--disable-gpu"]
# WebGPU computed on the CPU: slow, but the same operations.
_SOFTWARE_GPU = [
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--use-vulkan=swiftshader",
    "--enable-features=Vulkan",
]


def _required_chromium() -> str:
    chromium = os.environ.get("SIB_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    missing = []
    if not chromium:
        missing.append("Chromium (apt-get install chromium, or SIB_CHROMIUM=/path)")
    if not (PAGE / "node_modules" / "@litertjs" / "core").is_dir():
        missing.append("the page's packages (npm ci --prefix export/web)")
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        missing.append("playwright (pip install -e '.[web]')")
    if missing:
        explain = pytest.fail if os.environ.get("SIB_REQUIRE_CHROMIUM") == "1" else pytest.skip
        explain(f"the web page's tests need {' and '.join(missing)}")
    return chromium


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The page as any static server gives it, with a model, and perhaps its head, that lie elsewhere."""

    def __init__(self, *args, model: Path, head: Path | None, **kwargs):
        self._elsewhere = {"/model.tflite": model, "/head.tflite": head or Path("no-head")}
        super().__init__(*args, directory=str(PAGE), **kwargs)

    def translate_path(self, path: str) -> str:
        return str(self._elsewhere.get(path.split("?")[0]) or super().translate_path(path))

    def log_message(self, *args) -> None:
        pass


def served(model: Path, head: Path | None = None):
    """Serves the page with `model` and its head beside it; yields the address."""
    return listening(functools.partial(_Handler, model=model, head=head))


@contextmanager
def launcher() -> Iterator[Callable]:
    """Yields a function that starts a headless browser, with a camera that shows a test picture; closes them all.

    Skips, or fails under SIB_REQUIRE_CHROMIUM=1, where something is missing.
    """
    chromium, browsers = _required_chromium(), []
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:

        def launch(gpu: bool = False):
            arguments = _ARGUMENTS + (_SOFTWARE_GPU if gpu else _NO_GPU)
            browsers.append(playwright.chromium.launch(executable_path=chromium, args=arguments))
            return browsers[-1]

        try:
            yield launch
        finally:
            for browser in browsers:
                browser.close()


class Visitor:
    """One visit to the page.

    Attributes:
        page: Playwright's.
        url: of the page.
        requests: every address asked for.
        errors: uncaught errors of the page's scripts, and resources that it was not allowed.
    """

    def __init__(self, page, url: str):
        self.page, self.url, self.requests, self.errors = page, url, [], []
        page.set_default_timeout(30_000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        page.goto(url)

    def _note(self, message) -> None:
        if "Content Security Policy" in message.text:
            self.errors.append(message.text)

    def text(self, element_id: str) -> str:
        return self.page.inner_text(f"#{element_id}")

    def wait_for_model(self) -> "Visitor":
        self.page.wait_for_selector("#main:not([inert])")
        return self

    def wait_for_answers(self) -> dict:
        """Waits until the model is done; returns what `window.sib.result` says."""
        self.page.wait_for_selector("#results[aria-busy=false]")
        return self.page.evaluate("window.sib.result")

    def card(self, number: int):
        """The card of class `number`, from 0."""
        return self.page.locator("#classes > li").nth(number)

    def add_class(self, name: str) -> None:
        self.page.click("#add-class")
        self.page.keyboard.type(name)

    def give_files(self, owner, files) -> None:
        """Gives files to a card or to the pile by its Files button."""
        with self.page.expect_file_chooser() as chooser:
            owner.locator("[data-way=files]").click()
        chooser.value.set_files([str(file) for file in files])

    def pile(self):
        return self.page.locator("#pile-panel")

    def pile_size(self) -> int:
        return self.page.locator("#pile > li").count()

    def wait_for_pile(self, count: int) -> dict:
        self.page.wait_for_selector(f"#pile > li:nth-child({count})")
        return self.wait_for_answers()

    def answers(self) -> list[str]:
        """The class shown for every picture of the pile."""
        return self.page.locator("#pile .label").all_text_contents()

    def notice(self) -> str:
        self.page.wait_for_selector("#notice:not([hidden])")
        return self.page.inner_text("#notice-list")

    def wait_until_kept(self) -> None:
        """Waits until what was given and learned is in the browser's storage."""
        self.page.wait_for_selector("html[data-kept=yes]")

    def save(self, path: Path) -> Path:
        """Saves what was learned as `path`, by the page's button; returns it."""
        with self.page.expect_download() as download:
            self.page.click("#save")
        download.value.save_as(path)
        return path

    def open(self, path: Path) -> None:
        """Opens a saved file by the page's button."""
        with self.page.expect_file_chooser() as chooser:
            self.page.click("#open")
        chooser.value.set_files(path)

    def draw(self, *strokes: list[tuple[float, float]]) -> None:
        """Draws with the mouse in the open window; points in [0, 1]."""
        box = self.page.locator("#draw-canvas").bounding_box()
        mouse = self.page.mouse
        for stroke in strokes:
            points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
            mouse.move(*points[0])
            mouse.down()
            for point in points[1:]:
                mouse.move(*point, steps=4)
            mouse.up()
