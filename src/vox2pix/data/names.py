"""Names that a person typed, and the ones that were meant."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """Return the known names nearest to a misspelt one, as words for an error sentence.

    Parameters
    ----------
    name : str
        What was asked for.
    known : iterable of str
        What there is.
    n : int
        Most names to suggest.

    Returns
    -------
    str
        ``"did you mean V1v or V1d?"``, or ``"known: ..."`` where nothing is near.
    """
    names = sorted(set(known))
    lowered = {candidate.lower(): candidate for candidate in names}
    close = [lowered[k] for k in difflib.get_close_matches(name.lower(), lowered, n, cutoff=0.6)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names) or 'none'}."
