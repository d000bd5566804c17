"""A model server's gRPC interface, through the package tensorflow-serving-api; it imports TensorFlow."""

import numpy as np

from export.model_server import SIGNATURE, ModelServer, Shapes
from sib_tf.errors import InputError

try:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc
except ImportError as error:
    raise InputError(
        f"protocol grpc needs the package tensorflow-serving-api ({error}): pip install 'sib_tf[serve]', or use "
        "--protocol=rest."
    ) from error


class GrpcServer(ModelServer):
    """One model behind `host:8500`, with the methods of `model_server.RestServer`."""

    def __init__(self, address: str, model: str, timeout: float):
        host, _, port = address.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or "/" in address:
            raise InputError(f"server must be host:port for gRPC, such as localhost:8500; got {address!r}.")
        super().__init__(address, model, timeout)
        # Pictures are large: 4 MB, the default limit, is soon reached.
        limits = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        channel = grpc.insecure_channel(address, options=limits)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def signatures(self) -> dict[str, Shapes]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.model
        answer = self._ask(self._service.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        if not answer.metadata["signature_def"].Unpack(found) or SIGNATURE not in found.signature_def:
            raise self._wrong_answer(f"its metadata have no signature {SIGNATURE}")
        return {name: _shapes(signature.inputs) for name, signature in found.signature_def.items()}

    def predict(self, inputs: dict[str, np.ndarray], signature: str = SIGNATURE) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.model, signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        answer = self._ask(self._service.Predict, request)
        try:
            return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}
        except (TypeError, ValueError) as error:
            raise self._wrong_answer(f"it holds no arrays ({error})") from error

    def _ask(self, call, request):
        try:
            return call(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise self._failure(error.code(), error.details() or "no details") from error

    def _failure(self, code: grpc.StatusCode, said: str) -> InputError:
        match code:
            case grpc.StatusCode.NOT_FOUND:
                return self._unknown_model(said)
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return self._too_slow()
            case grpc.StatusCode.UNAVAILABLE:
                return self._unreachable(said)
        return self._refused(code.name, said)


def _shapes(inputs) -> Shapes:
    return {name: tuple(dim.size for dim in info.tensor_shape.dim) for name, info in inputs.items()}
