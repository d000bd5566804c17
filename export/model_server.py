"""What the REST and the gRPC interface of a model server have in common: the signature, and what can go wrong."""

from sib_tf.errors import InputError

SIGNATURE = "serving_default"
# Of the server's own words: an error there may quote the whole request.
_LONGEST_ERROR = 600


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


def on_one_line(text: str) -> str:
    """Returns a server's words at a sensible length."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_ERROR else text[:_LONGEST_ERROR] + " ..."
