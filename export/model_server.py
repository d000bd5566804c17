"""A model server's REST interface, as TF Serving documents it, and what it has in common with gRPC; no TensorFlow."""

import base64
import contextlib
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

import numpy as np

from sib_tf.errors import InputError
from sib_tf.storage import sealed_json

SIGNATURE = "serving_default"
# Of a signature's inputs, by name.
Shapes = dict[str, tuple[int, ...]]
# Of the server's own words: an error there may quote the whole request.
_LONGEST_ERROR = 600
# One byte more than is parsed: an endless answer is refused as too large.
MOST_ANSWER = sealed_json.MOST_BYTES + 1
# What a value of another structure makes of an access to it.
_ANOTHER = (KeyError, TypeError, ValueError, AttributeError)


class ModelServer:
    """One model behind a server's address.

    Args:
        address: of the server.
        model: its name there.
        timeout: seconds that the server may take for an answer.

    Raises:
        InputError: from the methods: the server cannot be reached, says that something is wrong, or gives an answer
            that is not a model server's.
    """

    def __init__(self, address: str, model: str, timeout: float):
        self.address, self.model, self.timeout = address, model, timeout

    def _unreachable(self, why: str) -> InputError:
        return InputError(f"server {self.address} cannot be reached ({why}); start it, or name another with --server.")

    def _too_slow(self) -> InputError:
        return InputError(f"server {self.address} gave no answer in {self.timeout:g} s; allow more with --timeout.")

    def _unknown_model(self, said: str) -> InputError:
        return InputError(
            f"model {self.model!r} is not served by {self.address} ({on_one_line(said)}); name one that is, with "
            "--model."
        )

    def _refused(self, code: str, said: str) -> InputError:
        return InputError(f"server {self.address} refused the request with {code}: {on_one_line(said)}")

    def _wrong_answer(self, what: str) -> InputError:
        return InputError(f"server {self.address} gave no model server's answer: {what}. Is its address right?")


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

    def signatures(self) -> dict[str, Shapes]:
        """Returns the shape of every input of every signature, by both their names; -1: any size."""
        answer = self._ask("/metadata")
        try:
            signatures = answer["metadata"]["signature_def"]["signature_def"]
            found = {name: _shapes(signature.get("inputs", {})) for name, signature in signatures.items()}
            return {SIGNATURE: found[SIGNATURE], **found}
        except _ANOTHER as error:
            raise self._wrong_answer(f"its metadata have no signature {SIGNATURE}") from error

    def predict(self, inputs: dict[str, np.ndarray], signature: str = SIGNATURE) -> dict[str, np.ndarray]:
        """Calls a signature; returns its outputs by name. Files are bytes in arrays of objects, both ways."""
        answer = self._ask(":predict", request_body(inputs, signature))
        try:
            return {name: _array(value) for name, value in answer["outputs"].items()}
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


def request_body(inputs: dict[str, np.ndarray], signature: str) -> bytes:
    """Returns the JSON that calls a signature, in columns; bytes are in base64, as `{"b64": ...}`."""
    columns = {name: _packed(_numbers(np.asarray(value))) for name, value in inputs.items()}
    return json.dumps({"signature_name": signature, "inputs": columns}, separators=(",", ":")).encode()


def _numbers(value: np.ndarray):
    """Lists; of float32 the shortest numbers that are read as the same, half as many digits as Python would write."""
    return (value.astype(str).astype(float) if value.dtype == np.float32 else value).tolist()


def _packed(value):
    if isinstance(value, list):
        return [_packed(each) for each in value]
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _array(value) -> np.ndarray:
    """An output; one of a single string may be in base64."""
    if isinstance(value, dict):
        return np.array(base64.b64decode(value["b64"], validate=True), object)
    return np.array(value)


def _shapes(inputs: dict) -> Shapes:
    dims = {name: info["tensor_shape"].get("dim", ()) for name, info in inputs.items()}
    return {name: tuple(int(dim["size"]) for dim in dims[name]) for name in dims}


def _said(body: bytes) -> str:
    """What the server said: the `error` of a JSON body, or the body itself."""
    text = body.decode("utf-8", "replace")
    # Some servers' escapes are not JSON; some errors are a proxy's page.
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        text = str(json.loads(text)["error"])
    return text


def on_one_line(text: str) -> str:
    """Returns a server's words at a sensible length."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_ERROR else text[:_LONGEST_ERROR] + " ..."
