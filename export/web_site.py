"""Serves the page, and the list of its files by which browsers keep it for when there is no network.

    python -m export.web_site --directory=export/web --port=8000

For other servers: --list prints the list, which they serve beside the page as version.json. Standard library only.
"""

import argparse
import contextlib
import functools
import hashlib
import http.server
import json
import re
import sys
from pathlib import Path

LIST = "version.json"
# What a visit may ask for; of packages the runtime alone. Descriptions and maps for developers are not.
_PACKAGES = r"(node_modules/@litertjs/(core|wasm-utils)/(dist|wasm)/)?"
_SERVED = re.compile(_PACKAGES + r"[\w-]+\.(js|wasm|html|css|tflite|png|webmanifest)")


def listing(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of the page's files, by their names relative to `directory`."""
    names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    files = {name: directory / name for name in names if _SERVED.fullmatch(name)}
    return {name: _digest(path, path.stat().st_mtime_ns) for name, path in files.items()}


@functools.lru_cache(maxsize=1000)
def _digest(path: Path, modified: int) -> str:
    """`modified`: so that what was changed is read again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a directory, and the list of them as it is now."""

    def do_GET(self) -> None:  # noqa: N802
        """Answers a request."""
        if self.path.split("?")[0] != f"/{LIST}":
            super().do_GET()
            return
        content = json.dumps(listing(Path(self.directory))).encode()
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Reads the command line and serves until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=Path(__file__).parent / "web", help="folder of the page")
    parser.add_argument("--port", type=int, default=8000, help="of 127.0.0.1")
    parser.add_argument("--list", action="store_true", help=f"print what {LIST} has to hold, and end")
    arguments = parser.parse_args()
    if arguments.list:
        print(json.dumps(listing(arguments.directory), indent=1))
        return
    handler = functools.partial(Handler, directory=str(arguments.directory))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", arguments.port), handler)
    except OSError as error:
        sys.exit(f"port {arguments.port} cannot be used ({error.strerror}); choose another: make web PORT=8001")
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
