"""A tab of a browser, whichever it is: what tests do with it, and what the protocols that drive it share."""

import abc
import base64
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Seconds; a browser beside other work takes its time.
PATIENCE = 180


class PageError(Exception):
    """A page's script threw, or a browser refused a command."""


class Tab(abc.ABC):
    """A tab of a browser of its own.

    Attributes:
        browser: name and version.
        errors: uncaught errors of the page's scripts, as far as the browser tells.
        requests: every address asked for, as far as the browser tells.
    """

    def __init__(self, browser: str, downloads: Path | None = None):
        self.browser, self.errors, self.requests = browser, [], []
        self._downloads = downloads

    @abc.abstractmethod
    def open(self, url: str) -> None:
        """Goes to an address and waits until it is loaded."""

    @abc.abstractmethod
    def evaluate(self, function: str, argument=None):
        """Returns what a JavaScript function, given as text, makes of `argument`; a promise is waited for.

        Both are what JSON can say.

        Raises:
            PageError: the function throws.
        """

    @abc.abstractmethod
    def click(self, selector: str) -> None:
        """Clicks on the middle of an element, as a mouse does, once it is shown and at rest."""

    @abc.abstractmethod
    def press(self, key: str) -> None:
        """Presses and releases a key: a character, or a name among `KEYS`."""

    @abc.abstractmethod
    def choose_files(self, selector: str, files: Sequence[Path]) -> None:
        """Chooses files in an `<input type=file>`."""

    @abc.abstractmethod
    def resize(self, width: int, height: int) -> None:
        """Makes the page as large, in pixels; WebKit's are 447 wide at least."""

    @abc.abstractmethod
    def screenshot(self, path: Path) -> None:
        """Writes what the tab shows as a PNG."""

    def drop_files(self, selector: str, files: Sequence[Path]) -> None:
        """Drops files on an element, as a file manager does."""
        given = [{"name": file.name, "data": base64.b64encode(file.read_bytes()).decode()} for file in files]
        self.evaluate(
            """([selector, files]) => {
              const transfer = new DataTransfer();
              for (const {name, data} of files) {
                transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name));
              }
              const event = new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true});
              document.querySelector(selector).dispatchEvent(event);
            }""",
            [selector, given],
        )

    def download(self, act: Callable) -> bytes:
        """Returns the file that the browser saves when `act` is called."""
        for file in self._downloads.iterdir():  # Not every browser gives a second file of a name another one.
            file.unlink()
        act()
        return patiently(lambda: _only_file([*self._downloads.iterdir()]))

    def wait_for(self, condition: str, argument=None):
        """Returns what a JavaScript function makes of `argument` as soon as that is true."""
        waiting = """async ([argument, patience]) => {
          for (const end = performance.now() + 1000 * patience; ; await new Promise((go) => setTimeout(go, 20))) {
            const found = await (CONDITION)(argument);
            if (found || performance.now() > end) return [Boolean(found), found];
          }
        }"""
        is_true, found = self.evaluate(waiting.replace("CONDITION", condition), [argument, PATIENCE / 2])
        if not is_true:
            raise PageError(f"{self.browser}: after {PATIENCE / 2} s it is still not true that {condition}")
        return found

    def text(self, selector: str) -> str:
        """Returns the text that an element shows."""
        return self.evaluate("(selector) => document.querySelector(selector).innerText.trim()", selector)


def _only_file(files: list[Path]) -> bytes:
    """Its content; raises OSError while it is not there or not all of it."""
    if len(files) != 1 or not (content := files[0].read_bytes()):
        raise FileNotFoundError(files)
    return content


# WebDriver's numbers of keys that write nothing.
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Home": "\ue011", "End": "\ue010"}
KEYS |= {"ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015"}

# Scrolls to an element and returns its middle in the viewport, [x, y], as soon as it is shown and rests there.
MIDDLE = """async (selector) => {
  let last = '';
  for (const end = performance.now() + 10_000; performance.now() < end; await new Promise(requestAnimationFrame)) {
    const element = document.querySelector(selector);
    if (!element?.checkVisibility()) continue;
    if (!last) element.scrollIntoView({block: 'center', behavior: 'instant'});
    const {left, top, width, height} = element.getBoundingClientRect();
    const place = [left + width / 2, top + height / 2];
    if (String(place) === last) return place;
    last = String(place);
  }
  throw new Error(`${selector} is not shown, or moves`);
}"""


def call(function: str, argument) -> str:
    """Returns an expression for a promise of what a function makes of `argument`, as JSON."""
    return f"(async () => JSON.stringify(await ({function})({json.dumps(argument)})) ?? 'null')()"


def key_actions(key: str) -> list[dict]:
    """Returns the actions, WebDriver's and BiDi's alike, that press a key."""
    strokes = [{"type": kind, "value": KEYS.get(key, key)} for kind in ("keyDown", "keyUp")]
    return [{"type": "key", "id": "keyboard", "actions": strokes}]


def click_actions(x: float, y: float) -> list[dict]:
    """Returns the actions, likewise, that click on a point of the viewport."""
    steps = [{"type": "pointerMove", "x": round(x), "y": round(y)}]
    steps += [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
    return [{"type": "pointer", "id": "mouse", "actions": steps}]


def end(process: subprocess.Popen) -> None:
    """Ends a process, if need be by force."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def patiently(attempt: Callable):
    """Returns what `attempt` returns as soon as it raises no OSError, as it does while a server starts."""
    for last in [False] * (PATIENCE * 20) + [True]:
        try:
            return attempt()
        except OSError:
            if last:
                raise
            time.sleep(1 / 20)
    return None
