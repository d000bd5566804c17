"""A model server in this process that speaks TF Serving's documented REST and gRPC, by running a SavedModel in C++.

Metadata and predict, in columns ("inputs"), with the errors' codes and texts, and the types that its JSON takes for
each tensor. No batching; one version of one model.
"""

import base64
import contextlib
import functools
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import exported
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from local_server import listening

_STATUS = {tf.errors.INVALID_ARGUMENT: 400, tf.errors.NOT_FOUND: 404}
_URL = re.compile(r"/v1/models/([^/:]+)(/metadata|:predict)")


class ServedModel:
    """One version of a model.

    Args:
        name: what it is served as.
        folder: of its SavedModel; the folder's name is the version.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.version = name, int(folder.name)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            signatures = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder)).signature_def
        self.signatures = {key: signatures[key] for key in signatures if not key.startswith("__")}

    def check(self, name: str) -> None:
        """Raises an OpError for another model, in the server's words."""
        if name != self.name:
            raise tf.errors.NotFoundError(None, None, f"Servable not found for request: Latest({name})")

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature; raises an OpError."""
        expected, outputs = self.signatures[signature].inputs, self.signatures[signature].outputs
        feeds = {self._output(expected[name]): value for name, value in inputs.items()}
        fetches = [self._output(info) for info in outputs.values()]
        # Below `Session.run`, whose checks a server does not have.
        return dict(zip(outputs, self._session._call_tf_sessionrun(None, feeds, fetches, [], None), strict=True))

    def _output(self, info):
        return self._session.graph.get_tensor_by_name(info.name)._as_tf_output()


@functools.cache
def general() -> ServedModel:
    """The model of `exported.general_saved_model`; its first answers take a second each, for whoever asks for them."""
    return ServedModel("sib", exported.general_saved_model())


def rest(model: ServedModel):
    """Serves REST on a free port; yields the address."""
    return listening(type("Handler", (_Handler,), {"model": model}))


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
        self._answer(self._metadata)

    def do_POST(self):
        self._answer(self._predict)

    def log_message(self, format, *args):
        pass

    def _answer(self, work) -> None:
        name = _URL.fullmatch(self.path)[1]
        try:
            self.model.check(name)
            status, answer = 200, work()
        except tf.errors.OpError as error:
            status, answer = _STATUS[error.error_code], {"error": error.message}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _metadata(self) -> dict:
        printed = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
        # Nested twice: the field's name, and that of the map inside.
        signatures = {k: json_format.MessageToDict(value, **printed) for k, value in self.model.signatures.items()}
        spec = {"name": self.model.name, "signature_name": "", "version": str(self.model.version)}
        return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}

    def _predict(self) -> dict:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        inputs = self.model.signatures[request["signature_name"]].inputs
        values = {name: from_json(value, tf.as_dtype(inputs[name].dtype)) for name, value in request["inputs"].items()}
        found = self.model.predict(request["signature_name"], values)
        return {"outputs": {name: to_json(name, value) for name, value in found.items()}}


def from_json(value, dtype: tf.DType) -> np.ndarray:
    """An input as TF Serving takes it: numbers are no truth, truth is no number, bytes are in base64."""
    shape, leaves, first = [], [value], value
    while isinstance(first, list):
        shape.append(len(first))
        leaves = [leaf for part in leaves for leaf in part]
        first = first[0] if first else None
    array = np.empty(len(leaves), dtype.as_numpy_dtype)
    array[:] = [_leaf(leaf, dtype) for leaf in leaves]
    return array.reshape(shape)


def _leaf(value, dtype: tf.DType):
    if dtype == tf.string and isinstance(value, dict):
        return base64.b64decode(value["b64"])
    kinds = {bool: str(value), int: "Number", float: "Number", str: "String", dict: "Object"}
    kind = kinds.get(type(value), "Null")
    taken = {
        "String": dtype == tf.string,
        "Number": dtype.is_floating or (dtype.is_integer and isinstance(value, int)),
        "True": dtype == tf.bool,
        "False": dtype == tf.bool,
    }
    if not taken.get(kind, False):
        text = f"JSON Value: {json.dumps(value)} Type: {kind} is not of expected type: {dtype.name}"
        raise tf.errors.InvalidArgumentError(None, None, text)
    return value.encode() if kind == "String" else value


def to_json(name: str, value):
    """An output: text as it is, but that of names in _bytes, which is in base64."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, list):
        return [to_json(name, each) for each in value]
    if not isinstance(value, bytes):
        return value
    return {"b64": base64.b64encode(value).decode()} if name.endswith("_bytes") else value.decode()


def _servicer(model: ServedModel):
    import grpc as grpc_library
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

    codes = {code.value[0]: code for code in grpc_library.StatusCode}

    def answering(work):
        def answer(self, request, context):
            try:
                model.check(request.model_spec.name)
                return work(request)
            except tf.errors.OpError as error:
                context.abort(codes[error.error_code], error.message)

        return answer

    def metadata(request):
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, value in model.signatures.items():
            signatures.signature_def[key].CopyFrom(value)
        answer.metadata["signature_def"].Pack(signatures)
        return answer

    def predict(request):
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        found = model.predict(request.model_spec.signature_name, inputs)
        return predict_pb2.PredictResponse(outputs={key: tf.make_tensor_proto(x) for key, x in found.items()})

    methods = {"GetModelMetadata": answering(metadata), "Predict": answering(predict)}
    return type("Servicer", (prediction_service_pb2_grpc.PredictionServiceServicer,), methods)()
