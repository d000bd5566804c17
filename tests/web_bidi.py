"""Firefox, driven by WebDriver BiDi, which it has built in: https://w3c.github.io/webdriver-bidi."""

import base64
import itertools
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import web_tab
from web_tab import PATIENCE, PageError, Tab

# Nothing is asked for but what tests open; the camera shows a test picture, and nobody is asked about it.
_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.region.network.url": "",
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.server": "",
}


@contextmanager
def firefox(binary: str) -> Iterator[Tab]:
    """A headless Firefox with a profile of its own."""
    with tempfile.TemporaryDirectory(prefix="sib_firefox_", ignore_cleanup_errors=True) as profile:
        downloads = Path(profile, "saved")
        downloads.mkdir()
        own = _PREFERENCES | {"browser.download.folderList": 2, "browser.download.dir": str(downloads)}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in own.items()]
        Path(profile, "user.js").write_text("\n".join(lines))
        command = [
            binary,
            "--headless",
            "--no-remote",
            "--profile",
            profile,
            "--remote-debugging-port=0",
            "about:blank",
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            with _connection(f"{_address(process)}/session") as socket:
                yield FirefoxTab(_Session(socket), downloads)
        finally:
            web_tab.end(process)


def _address(process: subprocess.Popen) -> str:
    lines = []
    for line in process.stdout:
        if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", line):
            return found[1]
        lines.append(line)
    raise PageError(f"Firefox does not start: {''.join(lines)[-500:]}")


def _connection(address: str):
    from websockets.sync.client import connect

    return connect(address, max_size=None, ping_interval=None, open_timeout=PATIENCE)


class _Session:
    """Commands, answers and events over a web socket."""

    def __init__(self, socket):
        self._socket, self._numbers, self.events = socket, itertools.count(1), []

    def send(self, method: str, **parameters) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        message = self._receive()
        while message.get("id") != number:
            self.events.append(message)
            message = self._receive()
        if message["type"] == "error":
            raise PageError(f"{method}: {message['message']}")
        return message["result"]

    def _receive(self) -> dict:
        return json.loads(self._socket.recv(timeout=2 * PATIENCE))


class FirefoxTab(Tab):
    """See `Tab`."""

    def __init__(self, session: _Session, downloads: Path):
        self._session = session
        found = session.send("session.new", capabilities={"alwaysMatch": {"unhandledPromptBehavior": "accept"}})
        super().__init__(f"Firefox {found['capabilities']['browserVersion']}", downloads)
        session.send("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self._tab = session.send("browsingContext.getTree")["contexts"][0]["context"]

    def open(self, url: str) -> None:
        self._send("browsingContext.navigate", url=url, wait="complete")

    def evaluate(self, function: str, argument=None):
        found = self._session.send(
            "script.evaluate",
            expression=web_tab.call(function, argument),
            target={"context": self._tab},
            awaitPromise=True,
        )
        self._take_events()
        if found["type"] == "exception":
            raise PageError(found["exceptionDetails"]["text"])
        return json.loads(found["result"]["value"])

    def click(self, selector: str) -> None:
        point = self.evaluate(web_tab.MIDDLE, selector)
        self._send("input.performActions", actions=web_tab.click_actions(*point))

    def press(self, key: str) -> None:
        self._send("input.performActions", actions=web_tab.key_actions(key))

    def choose_files(self, selector: str, files: Sequence[Path]) -> None:
        [element] = self._send("browsingContext.locateNodes", locator={"type": "css", "value": selector})["nodes"]
        names = [str(Path(file).resolve()) for file in files]
        self._send("input.setFiles", element={"sharedId": element["sharedId"]}, files=names)

    def resize(self, width: int, height: int) -> None:
        self._send("browsingContext.setViewport", viewport={"width": width, "height": height})

    def screenshot(self, path: Path) -> None:
        Path(path).write_bytes(base64.b64decode(self._send("browsingContext.captureScreenshot")["data"]))

    def _send(self, method: str, **parameters) -> dict:
        found = self._session.send(method, context=self._tab, **parameters)
        self._take_events()
        return found

    def _take_events(self) -> None:
        for event in self._session.events:
            entry = event["params"]
            if event["method"] == "network.beforeRequestSent":
                self.requests.append(entry["request"]["url"])
            elif entry["level"] == "error" and entry["type"] == "javascript":
                self.errors.append(entry["text"])
        self._session.events.clear()
