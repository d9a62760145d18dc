"""One exception for input that a person can mend."""


class UserError(Exception):
    """Input is wrong: one sentence that names the file, the value and the remedy.

    The command line prints the sentence and leaves with status 2; everything else that goes
    wrong is a fault of the program and keeps its traceback.
    """
