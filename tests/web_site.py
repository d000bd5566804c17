"""The page as a site whose files may be others than those of the checkout, and that may go away."""

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from web_visitor import PAGE

from export.web_site import LIST, listing


class Site:
    """A server of the page, on a port of its own.

    Attributes:
        files: contents by name, in place of the checkout's files or beside them.
        asked: names of what was asked for, in order.
        is_listed: whether there is a list of the files, so that browsers keep them for when there is no network.
        url: where it is.
    """

    def __init__(self, files: dict[str, bytes]):
        self.files, self.asked, self.is_listed, self._port = files, [], False, 0
        self.start()

    def start(self) -> None:
        """Listens; after `stop`, at the same address."""
        handler = functools.partial(_Handler, site=self)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._port = self._server.server_port
        self.url = f"http://127.0.0.1:{self._port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def list_of_files(self) -> bytes:
        """Returns the list of what is served now."""
        own = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        return json.dumps(listing(PAGE) | own).encode()

    def stop(self) -> None:
        """Goes away, as sites do where a device is offline."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def site(model: Path, **files: bytes) -> Iterator[Site]:
    """A `Site` with `model` beside the page, for as long as a block lasts; of `files`, `_` in names is a point."""
    found = Site({"model.tflite": model.read_bytes()} | {name.replace("_", "."): data for name, data in files.items()})
    try:
        yield found
    finally:
        found.stop()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args, site: Site, **kwargs):
        self._site = site
        super().__init__(*args, directory=str(PAGE), **kwargs)

    def do_GET(self) -> None:  # noqa: N802
        name = self.path.split("?")[0].lstrip("/")
        self._site.asked.append(name)
        content = self._site.list_of_files() if name == LIST and self._site.is_listed else self._site.files.get(name)
        if content is None:
            super().do_GET()
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(name))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args) -> None:
        pass
