"""Which part this process has in a search: keras-tuner's environment variables, checked before anything is loaded."""

import os

from sib_tf.errors import InputError

TUNER_ID, IP, PORT = VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def role() -> str:
    """Returns "alone", "chief" (hands out trials, runs none) or "worker" (runs them).

    Raises an InputError if some of the variables are set and some are not, or the port is no port.
    """
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if len(missing) == len(VARIABLES):
        return "alone"
    if missing:
        raise InputError(
            f"{', '.join(VARIABLES)} belong together; {' and '.join(missing)} not set. Set all three, or none."
        )
    port = os.environ[PORT]
    if not (port.isdecimal() and 1 <= int(port) < 2**16):
        raise InputError(f"{PORT} must be a number in [1, 65535]; got {port!r}.")
    # keras-tuner's rule.
    return "chief" if "chief" in os.environ[TUNER_ID] else "worker"


def address() -> str:
    """Returns the chief's address, "IP:port"."""
    return f"{os.environ[IP]}:{os.environ[PORT]}"
