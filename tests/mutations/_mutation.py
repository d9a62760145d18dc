"""What a mutation is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One fault, and the tests that must notice it.

    Attributes
    ----------
    breaks : str
        What is wrong with it, in words; no two mutations share them.
    file : str
        Below ``src/vox2pix``.
    old, new : str
        The text that stands there, once in the file, and what replaces it.
    tests : tuple of str
        Below ``tests``, as pytest takes them.
    """

    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
