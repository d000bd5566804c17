"""`sib-tf`, the script of an installed package: `sib-tf predict --help`."""

import importlib
import sys

from sib_tf.commands import cli

COMMANDS = {"predict": "gives every picture of a folder a class"}


def main() -> int:
    """Runs the command that the first argument names; returns the exit code."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print("usage: sib-tf COMMAND [--FLAG=VALUE ...]; sib-tf COMMAND --help lists its flags\n")
        print("\n".join(f"  {command:12}{what}" for command, what in COMMANDS.items()))
        return 0
    if name not in COMMANDS:
        print(f"error: the command must be one of {', '.join(COMMANDS)}; got {name!r}.", file=sys.stderr)
        return cli.USAGE_ERROR
    command = importlib.import_module(f"sib_tf.commands.{name}")
    return cli.run(command.main, command.FLAGS, command.__doc__, [f"sib-tf {name}", *arguments])
