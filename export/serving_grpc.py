"""A model server's gRPC interface, through the package tensorflow-serving-api; it imports TensorFlow."""

import numpy as np

from export.serving_rest import LONGEST_ERROR, SIGNATURE
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


class GrpcServer:
    """One model behind `host:8500`; as `serving_rest.RestServer`.

    Args:
        address: host and port, without a scheme.
        model: its name on the server.
        timeout: seconds that the server may take for an answer.
    """

    def __init__(self, address: str, model: str, timeout: float):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or "/" in address:
            raise InputError(f"server must be host:port for gRPC, such as localhost:8500; got {address!r}.")
        self.address, self.model, self.timeout = address, model, timeout
        # Pictures are large: 4 MB, the default limit, is soon reached.
        limits = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        channel = grpc.insecure_channel(address, options=limits)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every input of `serving_default` by name; -1: any size."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.model
        answer = self._ask(self._service.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        if not answer.metadata["signature_def"].Unpack(signatures) or SIGNATURE not in signatures.signature_def:
            raise InputError(f"model {self.model!r} of {self.address} has no signature {SIGNATURE}.")
        inputs = signatures.signature_def[SIGNATURE].inputs
        return {name: tuple(dim.size for dim in info.tensor_shape.dim) for name, info in inputs.items()}

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls `serving_default`; returns its outputs by name."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.model, SIGNATURE
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        answer = self._ask(self._service.Predict, request)
        try:
            return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}
        except (TypeError, ValueError) as error:
            raise InputError(
                f"server {self.address} gave an answer that holds no arrays ({error}); see its log."
            ) from error

    def _ask(self, call, request):
        try:
            return call(request, timeout=self.timeout)
        except grpc.RpcError as error:
            said = " ".join((error.details() or "no details").split())[:LONGEST_ERROR]
            raise InputError(self._sentence(error.code(), said)) from error

    def _sentence(self, code: grpc.StatusCode, said: str) -> str:
        if code == grpc.StatusCode.NOT_FOUND:
            return f"model {self.model!r} is not served by {self.address} ({said}); name one that is, with --model."
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"server {self.address} gave no answer in {self.timeout:g} s; allow more with --timeout."
        if code == grpc.StatusCode.UNAVAILABLE:
            return f"server {self.address} cannot be reached ({said}); start it, or name another with --server."
        return f"server {self.address} refused the request with {code.name}: {said}"
