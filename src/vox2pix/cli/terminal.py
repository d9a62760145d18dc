"""The terminal: what is printed is text, never markup, and never what a terminal obeys.

Names of files, regions and stimuli come from outside. ``[bold]`` in a name is five letters in
brackets, ``:smile:`` a word between colons, and an escape sequence is shown as it is written.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from vox2pix.outside import visible, without_secrets

Part = str | tuple[str, str]  # a text, or a text and its style


class Terminal(Console):
    """A console on which strings are plain text; their styles are given beside them."""

    def __init__(self, **how: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **how)

    def render_str(self, text: str, **how: Any) -> Text:
        """Return a string as text, its secrets hidden."""
        how |= {"markup": False, "emoji": False}
        return super().render_str(visible(without_secrets(text), keep="\n"), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is printed; whatever it comes from, it holds no control characters."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text, keep="\n"), segment.style)

    def say(self, *parts: Part, style: str = "") -> None:
        """Print a line of parts, each a text, or a text and its style; wide ones are not wrapped.

        Names from outside go through :func:`shown`, so that they stay in their line.
        """
        line = Text(style=style)
        for part in parts:
            text, own = (part, "") if isinstance(part, str) else part
            line.append(visible(without_secrets(text), keep="\n"), own)
        self.print(line, soft_wrap=True)


def shown(name: object) -> str:
    """Return a path, URL or text from outside as it is printed: a path from here if it is below."""
    if isinstance(name, Path):
        here = Path.cwd()
        name = name.relative_to(here) if name.is_relative_to(here) else name
    return visible(without_secrets(str(name)))


def bold(name: object) -> Part:
    """Return a name from outside as a bold part of a line."""
    return shown(name), "bold"


def any_character(*streams: Any) -> None:
    """Let streams take characters that they have no code for, written as Python writes them."""
    for stream in streams or (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
