"""What every benchmark does with its figures: print them, give them as JSON, put them on a page.

A section of a page is between two marks that carry the benchmark's name. ``--write`` puts
there what was printed, the command, the machine and the date, so that no figure of the
documentation is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vox2pix.store import machine as describe_machine

DOCS = Path(__file__).resolve().parents[1] / "docs"


def option_parser(documentation: str | None, has_small: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=(documentation or "").split("\n", 1)[0])
    if has_small:
        parser.add_argument("--small", action="store_true", help="a size for smoke tests")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/")
    return parser


def machine() -> dict[str, Any]:
    """Describe the machine, its load and the versions of what computes."""
    info = describe_machine()
    fields = ("processor", "cores", "memory_gb", "python", "packages", "git_revision")
    return {key: info[key] for key in fields} | {"load": round(os.getloadavg()[0], 2)}


def show(
    figures: dict[str, Any],
    text: str,
    options: argparse.Namespace,
    section: str,
    page: str = "benchmarks.md",
) -> None:
    """Print a benchmark's text; write it to its section of a page, and print JSON, if asked.

    Parameters
    ----------
    figures : dict
        What ``--json`` prints; under ``machine`` what :func:`machine` returned, or what a run
        noted of where it was made.
    text : str
        A table for people, at most 100 characters wide.
    options : Namespace
        Of a parser that :func:`option_parser` made.
    section : str
        The name in the page's marks, as in ``<!-- begin ridge -->``.
    page : str
        A file of ``docs/``.
    """
    print(text)
    if options.write:
        path = DOCS / page
        path.write_text(with_section(path.read_text(), section, _in_markdown(figures, text)))
    if options.json:
        print(json.dumps(figures))


def with_section(page: str, section: str, body: str) -> str:
    """Return a page with what is between a section's marks replaced.

    Raises
    ------
    ValueError
        If the page has no such marks.
    """
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"The page lacks the marks {begin} and {end}.")
    return pattern.sub(lambda _: f"{begin}\n{body}\n{end}", page)


def _in_markdown(figures: dict[str, Any], text: str) -> str:
    info = figures["machine"]
    asked = [word for word in sys.argv[1:] if word not in ("--write", "--json")]
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *asked])
    where = f"{info['processor']}, {info['cores']} cores, {info['memory_gb']:.0f} GB"
    # The tree that was measured: a commit is named only where nothing is uncommitted.
    revision = (info["git_revision"] or "unknown").split("-")[0][:9]
    date = datetime.now(UTC).date().isoformat()
    load = f", load {info['load']} before" if "load" in info else ""
    return (
        f"`{command}`\n\n```text\n{text.strip()}\n```\n\n"
        f"{date}, {where}{load}; after revision {revision}."
    )
