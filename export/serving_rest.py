"""A model server's REST interface, as TF Serving documents it; the standard library and NumPy."""

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
# Of the server's own words: an error there may quote the whole request.
LONGEST_ERROR = 600
# One byte more than is parsed: an endless answer is refused as too large.
MOST_ANSWER = sealed_json.MOST_BYTES + 1


class RestServer:
    """One model behind `http://host:8501`.

    Args:
        address: with scheme and port.
        model: its name on the server.
        timeout: seconds that the server may take for an answer.

    Raises:
        InputError: the address is not one; from the methods: the server cannot be reached, says that something is
            wrong, or gives an answer that is not a model server's.
    """

    def __init__(self, address: str, model: str, timeout: float):
        try:
            parts = urllib.parse.urlsplit(address)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # A port that is no number.
            usable = False
        if not usable:
            raise InputError(f"server must be an address such as http://localhost:8501; got {address!r}.")
        self.address, self.model, self.timeout = address.rstrip("/"), model, timeout
        self._url = f"{self.address}/v1/models/{urllib.parse.quote(model, safe='')}"

    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every input of `serving_default` by name; -1: any size."""
        answer = self._ask("/metadata")
        try:
            inputs = answer["metadata"]["signature_def"]["signature_def"][SIGNATURE]["inputs"]
            return {
                name: tuple(int(dim["size"]) for dim in info["tensor_shape"].get("dim", ()))
                for name, info in inputs.items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._wrong_answer(f"its metadata have no signature {SIGNATURE}") from error

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls `serving_default`; returns its outputs by name."""
        columns = {name: value.tolist() for name, value in inputs.items()}
        request = {"signature_name": SIGNATURE, "inputs": columns}
        answer = self._ask(":predict", json.dumps(request, separators=(",", ":")).encode())
        try:
            return {name: np.array(value) for name, value in answer["outputs"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._wrong_answer("it has no outputs") from error

    def _ask(self, path: str, body: bytes | None = None):
        request = urllib.request.Request(self._url + path, body, {"Content-Type": "application/json"})
        try:
            status, answer = self._exchange(request)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        if status != http.HTTPStatus.OK:
            raise self._refused(status, answer)
        try:
            return sealed_json.loads(answer)
        except ValueError as error:
            raise self._wrong_answer(f"it is not JSON, or {error}") from error

    def _exchange(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return answer.status, _body(answer)
        except urllib.error.HTTPError as error:
            return error.code, error.read(MOST_ANSWER)

    def _refused(self, status: int, body: bytes) -> InputError:
        said = error_text(body)
        if status == http.HTTPStatus.NOT_FOUND:
            return InputError(
                f"model {self.model!r} is not served by {self.address} ({said}); name one that is, with --model."
            )
        return InputError(f"server {self.address} refused the request with status {status}: {said}")

    def _unreachable(self, error: Exception) -> InputError:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return InputError(f"server {self.address} gave no answer in {self.timeout:g} s; allow more with --timeout.")
        if isinstance(reason, http.client.IncompleteRead | ConnectionError) and not isinstance(
            reason, ConnectionRefusedError
        ):
            return InputError(f"server {self.address} broke off in the middle; see its log, or try again.")
        if isinstance(reason, http.client.HTTPException):
            return InputError(f"server {self.address} does not speak HTTP; name its REST port, by default 8501.")
        text = getattr(reason, "strerror", None) or str(reason)
        return InputError(f"server {self.address} cannot be reached ({text}); start it, or name another with --server.")

    def _wrong_answer(self, what: str) -> InputError:
        return InputError(f"server {self.address} gave no model server's answer: {what}. Is its address right?")


def _body(answer) -> bytes:
    body = answer.read(MOST_ANSWER)
    # Reading so many bytes at most, http.client does not say itself that some are missing.
    if answer.length and len(body) < MOST_ANSWER:
        raise http.client.IncompleteRead(body, answer.length)
    return body


def error_text(body: bytes) -> str:
    """Returns what the server said: the `error` of a JSON body, or the body itself, on one line of sensible length."""
    text = body.decode("utf-8", "replace")
    # Some servers' escapes are not JSON; some errors are a proxy's page.
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        text = str(json.loads(text)["error"])
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_ERROR else text[:LONGEST_ERROR] + " ..."
