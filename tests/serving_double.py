"""A model server in this process that speaks TF Serving's documented REST and gRPC, by running a SavedModel in C++.

Metadata and predict, in columns ("inputs"), with the errors' codes and texts. No batching; one version of one model.
"""

import contextlib
import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from session_loader import Session, SessionError
from tensorflow.core.protobuf import saved_model_pb2

INVALID_ARGUMENT, NOT_FOUND = 3, 5
_STATUS = {INVALID_ARGUMENT: 400, NOT_FOUND: 404}
_URL = re.compile(r"/v1/models/([^/:]+)(/metadata|:predict)")


def libraries() -> Path:
    """The folder of TensorFlow's shared libraries."""
    return Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0])


class ServedModel:
    """One version of a model.

    Args:
        name: what it is served as.
        folder: of its SavedModel; the folder's name is the version.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.version = name, int(folder.name)
        proto = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        signatures = proto.meta_graphs[0].signature_def
        self.signatures = {key: signatures[key] for key in signatures if not key.startswith("__")}
        self._session = Session(libraries(), folder)

    def check(self, name: str, signature: str) -> None:
        """Raises SessionError for another model or an unknown signature, in the server's words."""
        if name != self.name:
            raise SessionError(NOT_FOUND, f"Servable not found for request: Latest({name})")
        if signature not in self.signatures:
            raise SessionError(INVALID_ARGUMENT, f'Serving signature name: "{signature}" not found in signature def')

    def dtype(self, signature: str, name: str) -> np.dtype:
        """The dtype of an input; raises SessionError if there is none of this name."""
        inputs = self.signatures[signature].inputs
        if name not in inputs:
            raise SessionError(INVALID_ARGUMENT, f"JSON object: does not have named input: {name}")
        return np.dtype(tf.as_dtype(inputs[name].dtype).as_numpy_dtype)

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature; raises SessionError."""
        expected, outputs = self.signatures[signature].inputs, self.signatures[signature].outputs
        if missing := set(expected) ^ set(inputs):
            message = f"input size does not match signature: {len(inputs)}!={len(expected)}: {sorted(missing)}"
            raise SessionError(INVALID_ARGUMENT, message)
        feeds = {expected[name].name: value for name, value in inputs.items()}
        return dict(zip(outputs, self._session.run(feeds, [info.name for info in outputs.values()]), strict=True))


@contextlib.contextmanager
def rest(model: ServedModel) -> Iterator[str]:
    """Serves REST on a free port; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"model": model}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def grpc(model: ServedModel) -> Iterator[str]:
    """Serves gRPC on a free port; yields the address. Needs the package tensorflow-serving-api."""
    from concurrent import futures

    import grpc as grpc_library
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    unlimited = [("grpc.max_receive_message_length", -1)]
    server = grpc_library.server(futures.ThreadPoolExecutor(2), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_servicer(model), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


class _Handler(BaseHTTPRequestHandler):
    model: ServedModel

    def do_GET(self):
        self._answer("GET", None)

    def do_POST(self):
        self._answer("POST", self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, format, *args):
        pass

    def _answer(self, method: str, body: bytes | None) -> None:
        try:
            match = _URL.fullmatch(self.path)
            if match is None or (match[2] == ":predict") != (method == "POST"):
                raise SessionError(INVALID_ARGUMENT, f"Malformed request: {method} {self.path}")
            status, answer = 200, _rest_answer(self.model, match[1], match[2], body)
        except SessionError as error:
            status, answer = _STATUS.get(error.code, 500), {"error": str(error)}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _rest_answer(model: ServedModel, name: str, what: str, body: bytes | None) -> dict:
    if what == ":predict":
        return _predict(model, name, json.loads(body))
    model.check(name, "serving_default")
    # Nested twice: the field's name, and that of the map inside.
    signatures = {key: json_format.MessageToDict(value, **_AS_PRINTED) for key, value in model.signatures.items()}
    spec = {"name": name, "signature_name": "", "version": str(model.version)}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}


_AS_PRINTED = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}


def _predict(model: ServedModel, name: str, request: dict) -> dict:
    signature = request.get("signature_name", "serving_default")
    model.check(name, signature)
    inputs = {key: _tensor(value, model.dtype(signature, key)) for key, value in request["inputs"].items()}
    return {"outputs": {key: value.tolist() for key, value in model.predict(signature, inputs).items()}}


def _tensor(value, dtype: np.dtype) -> np.ndarray:
    array = np.array(value)
    # Whole numbers are not true or false, nor the other way round; an empty list may be anything.
    allowed = {"b": "b", "u": "iu", "i": "iu", "f": "fiu"}[dtype.kind]
    if array.size and array.dtype.kind not in allowed:
        raise SessionError(INVALID_ARGUMENT, f"JSON Value: is not of expected type: {dtype}")
    return array.astype(dtype)


def _servicer(model: ServedModel):
    import grpc as grpc_library
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

    codes = {code.value[0]: code for code in grpc_library.StatusCode}

    class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
        def GetModelMetadata(self, request, context):
            return _or_abort(context, codes, lambda: self._metadata(request))

        def Predict(self, request, context):
            return _or_abort(context, codes, lambda: self._predict(request))

        def _metadata(self, request):
            model.check(request.model_spec.name, "serving_default")
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for key, value in model.signatures.items():
                signatures.signature_def[key].CopyFrom(value)
            answer.metadata["signature_def"].Pack(signatures)
            return answer

        def _predict(self, request):
            signature = request.model_spec.signature_name or "serving_default"
            model.check(request.model_spec.name, signature)
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            answer = predict_pb2.PredictResponse()
            for key, value in model.predict(signature, inputs).items():
                answer.outputs[key].CopyFrom(tf.make_tensor_proto(value))
            return answer

    return Servicer()


def _or_abort(context, codes, work):
    try:
        return work()
    except SessionError as error:
        context.abort(codes[error.code], str(error))
