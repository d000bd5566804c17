"""The page without a network, as an app, and with the camera, in every browser that is installed."""

import functools
import json
import urllib.request
from http.server import ThreadingHTTPServer

import numpy as np
import pytest
from exported import tflite
from local_server import listening
from PIL import Image
from web_browsers import ChromiumTab
from web_site import site
from web_visitor import PAGE

from export import web_icons, web_site

READY = "() => !document.querySelector('#main').inert"
REFUSES = """(name) => {
  navigator.mediaDevices.getUserMedia = async () => {
    throw new DOMException('', name);
  };
}"""
PILE = "() => document.querySelectorAll('#pile > li').length"


@pytest.fixture(scope="module")
def model():
    return tflite(4, 7, 9)


def visit(tab, server) -> list[str]:
    """Opens the page; returns what was asked of the server until the model was there."""
    before = len(server.asked)
    tab.open(server.url)
    tab.wait_for(READY)
    return server.asked[before:]


@pytest.mark.slow
def test_the_page_is_there_without_a_network_and_what_changed_is_fetched_anew(tab, model):
    with site(model) as server:
        server.is_listed = True
        first = visit(tab, server)
        assert {"page.js", "model.tflite", "service_worker.js", "icon-192.png"} <= set(first)
        # A first visit keeps what it uses: one form of the runtime, not all four.
        assert len({name for name in first if name.endswith(".wasm")}) == 1
        server.stop()
        visit(tab, server)
        tab.click("#example")
        assert tab.wait_for("() => window.sib.result?.pictures") == 8
        server.start()
        # What this site has not, the page asks for again, sooner or later: the head that goes into saved files.
        always = {web_site.LIST, "service_worker.js", "head.tflite"}
        assert set(visit(tab, server)) <= always  # Nothing changed.
        other = tflite(4, 7, 9, num_steps=0)
        server.files |= {"model.tflite": other.read_bytes(), "notice.js": (PAGE / "notice.js").read_bytes() + b"\n"}
        changed = {"model.tflite", "notice.js"}
        assert changed <= set(visit(tab, server)) <= changed | always
        tab.wait_for("() => window.sib.description.num_steps === 0")
        server.stop()
        visit(tab, server)
        assert tab.evaluate("() => window.sib.description.num_steps") == 0
        assert tab.evaluate("async () => (await caches.keys()).length") == 1
        server.start()
        # Another site at this address has its own files.
        server.is_listed = False
        visit(tab, server)
        tab.wait_for("async () => (await navigator.serviceWorker.getRegistrations()).length === 0")
        visit(tab, server)
        assert tab.evaluate("() => navigator.serviceWorker.controller === null")
        tab.open("about:blank")


@pytest.mark.slow
def test_the_camera_is_offered_before_a_browser_tells_of_it(tab, model):
    tells = """(devices) => {
      navigator.mediaDevices.enumerateDevices = async () => devices.map((kind) => ({kind}));
      navigator.permissions.query = async () => ({state: 'prompt'});
      navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
    }"""
    none, button = "No camera was found on this device.", "#pile-ways [data-way=camera]"
    shown = f"() => getComputedStyle(document.querySelector('{button}')).display !== 'none'"
    with site(model) as server:
        visit(tab, server)
        tab.evaluate(tells, ["audioinput"])
        tab.wait_for("(none) => document.querySelector('#camera-note').textContent === none", none)
        assert not tab.evaluate(shown)
        tab.evaluate(tells, [])  # It tells of nothing before it was asked for leave.
        tab.wait_for(shown)
        tab.click(button)
        tab.wait_for("() => !document.querySelector('#camera-take').disabled")
        tab.click("#camera-take")
        tab.click("#camera-close")
        assert tab.wait_for(PILE) == 1
        tab.evaluate(REFUSES, "NotFoundError")
        tab.click(button)
        tab.wait_for("(none) => document.querySelector('#camera-status').textContent === none", none)
        tab.click("#camera-close")
        tab.wait_for("(none) => document.querySelector('#camera-note').textContent === none", none)
        assert not tab.evaluate(shown)
        tab.open("about:blank")


@pytest.mark.slow
def test_the_page_can_be_installed(tab, model):
    if not isinstance(tab, ChromiumTab):
        pytest.skip("Chromium alone says what it misses")
    with site(model) as server:
        server.is_listed = True
        visit(tab, server)
        protocol = tab.page.context.new_cdp_session(tab.page)
        manifest = protocol.send("Page.getAppManifest")
        assert manifest["errors"] == []
        assert json.loads(manifest["data"])["display"] == "standalone"
        errors = protocol.send("Page.getInstallabilityErrors")["installabilityErrors"]
        assert [error["errorId"] for error in errors] == [
            "in-incognito"
        ]  # As tabs of tests are; nothing else is amiss.
        tab.open("about:blank")


def test_icons_are_those_that_are_drawn():
    for icon in json.loads((PAGE / "manifest.webmanifest").read_text())["icons"]:
        found, drawn = Image.open(PAGE / icon["src"]), web_icons.draw(*web_icons.ICONS[icon["src"]])
        assert icon["sizes"] == f"{found.width}x{found.height}"
        np.testing.assert_allclose(np.asarray(found, int), np.asarray(drawn), atol=1)
    corner = np.asarray(Image.open(PAGE / "icon-maskable.png"))[0, 0]
    assert corner[3] == 255  # To be cut to any shape, it is blue to the edge.


def test_the_list_of_files_is_that_of_what_is_there_now(tmp_path):
    runtime = tmp_path / "node_modules" / "@litertjs" / "core" / "wasm"
    runtime.mkdir(parents=True)
    for file in (tmp_path / "page.js", runtime / "litert.wasm", tmp_path / "package.json", tmp_path / "notes.txt"):
        file.write_text("one")
    handler = functools.partial(web_site.Handler, directory=str(tmp_path))
    with listening(handler) as url:

        def listed() -> dict:
            with urllib.request.urlopen(f"{url}/{web_site.LIST}") as answer:
                return json.load(answer)

        before = listed()
        assert list(before) == ["node_modules/@litertjs/core/wasm/litert.wasm", "page.js"]
        (tmp_path / "page.js").write_text("another")
        after = listed()
        assert before["page.js"] != after["page.js"]
        assert before.keys() == after.keys()


def test_a_port_that_is_taken_is_named(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), web_site.Handler) as server:
        monkeypatch.setattr("sys.argv", ["web_site", f"--port={server.server_port}"])
        with pytest.raises(SystemExit, match=f"port {server.server_port} cannot be used .*choose another"):
            web_site.main()
