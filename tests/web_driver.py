"""WebKit as GTK has it, driven by WebDriver: https://www.w3.org/TR/webdriver2."""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import web_tab
from web_tab import PATIENCE, PageError, Tab

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def mini_browser() -> str | None:
    """Returns the path of the browser that comes with WebKitGTK's library; None where there is none."""
    places = sorted(Path("/usr").glob("lib*/**/webkit2gtk-4*/MiniBrowser"))
    return shutil.which("MiniBrowser") or (str(places[-1]) if places else None)


@contextmanager
def webkit(driver: str, browser: str) -> Iterator[Tab]:
    """A WebKit with a home of its own, on a screen that nobody sees."""
    with tempfile.TemporaryDirectory(prefix="sib_webkit_", ignore_cleanup_errors=True) as home, _screen() as screen:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        downloads = Path(home, "saved")
        downloads.mkdir()
        Path(home, "user-dirs.dirs").write_text('XDG_DOWNLOAD_DIR="$HOME/saved"\n')
        # The sandbox needs rights that root in a container lacks; no desktop is there to be asked for settings.
        own = {"HOME": home, "XDG_RUNTIME_DIR": home, "XDG_CONFIG_HOME": home}
        own |= {"WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}
        own |= {"LIBGL_ALWAYS_SOFTWARE": "1", "GSETTINGS_BACKEND": "memory", "NO_AT_BRIDGE": "1"} | screen
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([driver, f"--port={port}"], env=os.environ | own, **quiet)
        try:
            with _session(f"http://127.0.0.1:{port}", browser, downloads) as tab:
                yield tab
        finally:
            web_tab.end(process)


@contextmanager
def _screen() -> Iterator[dict[str, str]]:
    """Yields what the environment needs for a screen of Xvfb."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1200x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as answer:
            number = answer.readline().strip()
        if not number:
            raise PageError("Xvfb does not start.")
        yield {"DISPLAY": f":{number}", "GDK_BACKEND": "x11"}
    finally:
        web_tab.end(process)


@contextmanager
def _session(address: str, browser: str, downloads: Path) -> Iterator[Tab]:
    options = {"binary": browser, "args": ["--automation", "--enable-mock-capture-devices=true"]}
    wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options, "unhandledPromptBehavior": "accept"}}
    found = web_tab.patiently(lambda: _send("POST", f"{address}/session", capabilities=wanted))
    session = f"{address}/session/{found['sessionId']}"
    try:
        _send("POST", f"{session}/timeouts", script=1000 * PATIENCE, pageLoad=1000 * PATIENCE)
        yield WebKitTab(session, found["capabilities"]["browserVersion"], downloads)
    finally:
        _send("DELETE", session)


def _send(method: str, address: str, **parameters):
    data = json.dumps(parameters).encode() if method == "POST" else None
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=2 * PATIENCE) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        found = json.load(error)["value"]
        raise PageError(f"{found['error']}: {found['message']}") from None


class WebKitTab(Tab):
    """See `Tab`. WebKit tells of no errors and no requests."""

    def __init__(self, session: str, version: str, downloads: Path):
        super().__init__(f"WebKitGTK {version}", downloads)
        self._session = session

    def open(self, url: str) -> None:
        self._post("url", url=url)

    def evaluate(self, function: str, argument=None):
        promise = web_tab.call(function, argument)
        script = f"{promise}.then((value) => arguments[0]({{value}}), (error) => arguments[0]({{error: `${{error}}`}}))"
        found = self._post("execute/async", script=script, args=[])
        if "error" in found:
            raise PageError(found["error"])
        return json.loads(found["value"])

    def click(self, selector: str) -> None:
        self._post("actions", actions=web_tab.click_actions(*self.evaluate(web_tab.MIDDLE, selector)))

    def press(self, key: str) -> None:
        self._post("actions", actions=web_tab.key_actions(key))

    def choose_files(self, selector: str, files: Sequence[Path]) -> None:
        element = self._post("element", using="css selector", value=selector)[_ELEMENT]
        self._post(f"element/{element}/value", text="\n".join(str(Path(file).resolve()) for file in files))

    def resize(self, width: int, height: int) -> None:
        # Of its window a part is not the page's.
        inner = self.evaluate("() => [outerWidth - innerWidth, outerHeight - innerHeight]")
        self._post("window/rect", width=width + inner[0], height=height + inner[1])

    def screenshot(self, path: Path) -> None:
        Path(path).write_bytes(base64.b64decode(_send("GET", f"{self._session}/screenshot")))

    def _post(self, command: str, **parameters):
        return _send("POST", f"{self._session}/{command}", **parameters)
