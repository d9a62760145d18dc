"""The result of one check of the audit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation import intervals

Verdict = Literal["pass", "warn", "fail"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class UnanswerableError(ValueError):
    """These data cannot answer the question of a check; the message says why."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    name : str
        Of the check.
    verdict : {"pass", "warn", "fail"}
        By the thresholds that the check's docstring states.
    sentence : str
        The finding in plain words, with its numbers.
    value : float
        The number that decides, as the check's docstring says.
    ci : (float, float) or None
        Interval of ``value`` over test stimuli, of 95 % unless the check says otherwise.
    references : mapping of str to float
        Values to compare with.
    details : mapping of str to ndarray
        Arrays for figures and tables.
    """

    name: str
    verdict: Verdict
    sentence: str
    value: float
    ci: tuple[float, float] | None = None
    references: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the finding without its arrays, as JSON takes it."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "value": self.value,
            "ci": self.ci,
            "references": dict(self.references),
        }


def worst(verdicts: list[Verdict]) -> Verdict:
    """Return the worst of some verdicts, "pass" of none."""
    return max(verdicts, key=VERDICTS.index, default="pass")


def mean_interval(
    values: NDArray[np.float64], level: float = 0.95
) -> tuple[float, tuple[float, float]]:
    """Return the mean over stimuli and its interval."""
    return float(np.mean(values)), intervals.mean_interval(values, level)


def written(value: float, ci: tuple[float, float]) -> str:
    """Write a value with its interval."""
    return f"{value:.3f} [{ci[0]:.3f}, {ci[1]:.3f}]"


def check_scores(*columns: ArrayLike) -> list[NDArray[np.float64]]:
    """Return scores of the same stimuli as float64, shape (n,), or refuse them."""
    arrays = [np.asarray(column, np.float64) for column in columns]
    shapes = [array.shape for array in arrays]
    if arrays[0].ndim != 1 or len(set(shapes)) != 1 or len(arrays[0]) < 2:
        raise ValueError(f"Scores need one row of the same two or more stimuli, not {shapes}.")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("Scores must be finite; some are NaN or infinite.")
    return arrays
