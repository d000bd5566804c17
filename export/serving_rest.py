"""A model server's REST interface, as TF Serving documents it; the standard library and NumPy."""

import contextlib
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

import numpy as np

from export.model_server import SIGNATURE, ModelServer
from sib_tf.errors import InputError
from sib_tf.storage import sealed_json

# One byte more than is parsed: an endless answer is refused as too large.
MOST_ANSWER = sealed_json.MOST_BYTES + 1
# What a value of another structure makes of an access to it.
_ANOTHER = (KeyError, TypeError, ValueError, AttributeError)


class RestServer(ModelServer):
    """One model behind `http://host:8501`."""

    def __init__(self, address: str, model: str, timeout: float):
        try:
            parts = urllib.parse.urlsplit(address)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # A port that is no number.
            usable = False
        if not usable:
            raise InputError(f"server must be an address such as http://localhost:8501; got {address!r}.")
        super().__init__(address.rstrip("/"), model, timeout)
        self._url = f"{self.address}/v1/models/{urllib.parse.quote(model, safe='')}"

    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every input of `serving_default` by name; -1: any size."""
        answer = self._ask("/metadata")
        try:
            inputs = answer["metadata"]["signature_def"]["signature_def"][SIGNATURE]["inputs"]
            dims = {name: info["tensor_shape"].get("dim", ()) for name, info in inputs.items()}
            return {name: tuple(int(dim["size"]) for dim in dims[name]) for name in dims}
        except _ANOTHER as error:
            raise self._wrong_answer(f"its metadata have no signature {SIGNATURE}") from error

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls `serving_default`; returns its outputs by name."""
        columns = {name: value.tolist() for name, value in inputs.items()}
        request = {"signature_name": SIGNATURE, "inputs": columns}
        answer = self._ask(":predict", json.dumps(request, separators=(",", ":")).encode())
        try:
            return {name: np.array(value) for name, value in answer["outputs"].items()}
        except _ANOTHER as error:
            raise self._wrong_answer("it has no outputs") from error

    def _ask(self, path: str, body: bytes | None = None):
        request = urllib.request.Request(self._url + path, body, {"Content-Type": "application/json"})
        try:
            status, answer = self._exchange(request)
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(getattr(error, "reason", error)) from error
        if status == http.HTTPStatus.NOT_FOUND:
            raise self._unknown_model(_said(answer))
        if status != http.HTTPStatus.OK:
            raise self._refused(f"status {status}", _said(answer))
        try:
            return sealed_json.loads(answer)
        except ValueError as error:
            raise self._wrong_answer(f"it is not JSON, or {error}") from error

    def _exchange(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                body = answer.read(MOST_ANSWER)
                # Reading so many bytes at most, http.client does not say itself that some are missing.
                if answer.length and len(body) < MOST_ANSWER:
                    raise http.client.IncompleteRead(body, answer.length)
                return answer.status, body
        except urllib.error.HTTPError as error:
            return error.code, error.read(MOST_ANSWER)

    def _no_answer(self, reason: Exception | str) -> InputError:
        match reason:
            case TimeoutError():
                return self._too_slow()
            case ConnectionRefusedError():
                return self._unreachable(reason.strerror)
            case http.client.IncompleteRead() | ConnectionError():
                return InputError(f"server {self.address} broke off in the middle; see its log, or try again.")
            case http.client.HTTPException():
                return InputError(f"server {self.address} does not speak HTTP; name its REST port, by default 8501.")
        return self._unreachable(getattr(reason, "strerror", None) or str(reason))


def _said(body: bytes) -> str:
    """What the server said: the `error` of a JSON body, or the body itself."""
    text = body.decode("utf-8", "replace")
    # Some servers' escapes are not JSON; some errors are a proxy's page.
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        text = str(json.loads(text)["error"])
    return text
