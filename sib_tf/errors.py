"""The one error that means: what was given cannot be used, and here is the way out."""


class InputError(ValueError):
    """Raised for anything a caller or user can put right: a flag, a file, a folder, a specification.

    The message is one line that names the argument, what was expected, what came, and the way out.
    The command line prints it alone, without a traceback, and ends with exit code 2.
    """
