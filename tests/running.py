"""Entry points as a shell runs them, in this process."""

from sib_tf.commands import cli


def arguments(given: dict | None = None, **flags) -> list[str]:
    """The flags `given` and `flags`, which wins, as one types them: of a list each of its values, of None nothing."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in {**(given or {}), **flags}.items()}
    return [f"--{name}={value}" for name, values in lists.items() for value in values if value is not None]


def run(module, given: dict | None = None, **flags) -> int:
    """Runs an entry point with these `arguments`; returns the exit code."""
    return cli.run(module.main, module.FLAGS, module.__doc__, [module.__name__, *arguments(given, **flags)])
