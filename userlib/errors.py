"""The one error that users are meant to read."""


class UserError(Exception):
    """One paragraph that names the thing, the value it had and the remedy.

    The command line prints it without a traceback and exits with status 2; a notebook shows it as it is.
    """
