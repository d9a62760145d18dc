"""Give `evaluate`, `compare` and `pool` inputs that give a wrong number; see what is reported.

Each input is of a kind of mistake that labs make: ids and orders, samples, scales, channels, files,
networks, folders that do not belong together. A case ends as *refused* (one sentence, before
anything is written), *noted* (a number and a note that speaks of the mistake), *right* (the number
of the undamaged input), or as a failure: *SILENT* (another number, no note) or *TRACEBACK*.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from results import machine, option_parser, show
from silent_evaluation_inputs import CASES, Answer
from vox2pix.errors import UserError

OUTCOMES = ("refused", "noted", "right", "SILENT", "TRACEBACK")


def outcome(case: Callable[[Path], Answer]) -> tuple[str, str]:
    """Run a case in an empty folder; return how it ended, and its sentence."""
    folder = Path(tempfile.mkdtemp(prefix="silent-"))
    before = Path.cwd()
    try:
        os.chdir(folder)
        answer = case(folder)
    except UserError as error:
        return "refused", str(error)
    except Exception as error:
        return "TRACEBACK", f"{type(error).__name__}: {error}"
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)
    spoken = [note for note in answer.notes if any(word in note for word in answer.words)]
    if spoken:
        return "noted", spoken[0]
    if answer.expected is not None and np.isclose(answer.value, answer.expected, atol=1e-3):
        return "right", ""
    return "SILENT", f"{answer.value:.3f}, where {answer.expected} is right"


def main() -> int:
    """Run all cases; return 1 if one is silent or ends in a traceback."""
    options = option_parser(__doc__, has_small=False).parse_args()
    where = machine()
    warnings.simplefilter("ignore")
    counts: dict[str, Counter[str]] = {}
    failures = []
    for kind, name, case in CASES:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            how, message = outcome(case)
        counts.setdefault(kind, Counter())[how] += 1
        if how.isupper():
            failures.append(f"{how}: {kind}, {name}: {message}")
        elif os.environ.get("VERBOSE"):
            print(f"{how:8} {kind}, {name}: {message}")
    lines = [f"{'kind':34} {'inputs':>6} " + " ".join(f"{each:>9}" for each in OUTCOMES)]
    total = sum(counts.values(), Counter())
    for kind, found in [*counts.items(), ("all", total)]:
        cells = " ".join(f"{found[each]:>9}" for each in OUTCOMES)
        lines.append(f"{kind:34} {sum(found.values()):>6} {cells}")
    text = "\n".join([*lines, *failures])
    figures = {"kinds": {kind: dict(found) for kind, found in counts.items()}, "machine": where}
    show(figures, text, options, "silent-evaluation", "reliability.md")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
