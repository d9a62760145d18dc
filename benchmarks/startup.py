"""How long each command takes to say what it does, beside a Python that does nothing.

    python benchmarks/startup.py [--small] [--json]

Starts ``python -c pass``, ``vox2pix --help`` and the help of every command in turn, several
times, each in a new process; the median of each is shown.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np
from typer.core import TyperGroup
from typer.main import get_command

from results import machine, option_parser, show
from vox2pix.cli import app


def commands(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of a group of commands and of every command below it."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def seconds(arguments: Sequence[str]) -> float:
    """Start Python with arguments; return how long it lived."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Print, write."""
    options = option_parser(__doc__).parse_args()
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    started = {"python -c pass": ["-c", "pass"]}
    for words in commands(group):
        started[" ".join(["vox2pix", *words, "--help"])] = ["-m", "vox2pix", *words, "--help"]
    rounds = 1 if options.small else 11
    before = machine()
    for arguments in started.values():
        seconds(arguments)  # bytecode and files come into the cache
    times = [[seconds(arguments) for arguments in started.values()] for _ in range(rounds)]
    medians = dict(zip(started, np.median(times, axis=0).tolist(), strict=True))
    lines = [f"{'command':<32}{'seconds':>8}"]
    lines += [f"{name:<32}{median:>8.3f}" for name, median in medians.items()]
    figures = {"benchmark": "startup", "machine": before, "rounds": rounds, "seconds": medians}
    show(figures, "\n".join(lines), options, "startup")


if __name__ == "__main__":
    main()
