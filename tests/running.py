"""Entry points as a shell runs them, in this process."""

from sib_tf.commands import cli


def run(module, given: dict | None = None, **flags) -> int:
    """Runs an entry point with the flags `given` and `flags`, which wins; those that are None are left out.

    Returns:
        The exit code.
    """
    arguments = [f"--{name}={value}" for name, value in {**(given or {}), **flags}.items() if value is not None]
    return cli.run(module.main, module.FLAGS, module.__doc__, [module.__name__, *arguments])
