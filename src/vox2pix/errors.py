"""One exception for input that a person can correct."""

from vox2pix.outside import without_secrets


class UserError(Exception):
    """Input is wrong: one message that names the file, the value and the remedy.

    The command line prints the message and leaves with status 2; everything else that goes
    wrong is a fault of the program and keeps its traceback. Secrets in the message, such as keys
    in a URL, are hidden.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(without_secrets(str(message)))
