"""Entry points as a shell runs them, in this process."""

from sib_tf.commands import cli


def run(module, given: dict | None = None, *arguments: str, **flags) -> int:
    """Runs an entry point with `arguments` and the flags `given` and `flags`, which wins; flags of None are left out.

    Returns:
        The exit code.
    """
    given_flags = [f"--{name}={value}" for name, value in {**(given or {}), **flags}.items() if value is not None]
    return cli.run(module.main, module.FLAGS, module.__doc__, [module.__name__, *given_flags, *arguments])
