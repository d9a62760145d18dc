"""The settings of a ridge estimator, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from vox2pix.linear.ridge import TARGET_BLOCK

DEFAULT_ALPHAS: tuple[float, ...] = tuple(float(10 ** (k / 2)) for k in range(13))
"""Half decades from 1 to 1e6.

The mean eigenvalue of X'X is n_trials for z-scored voxels: below 1 ridge is ordinary least squares
wherever there are more trials than voxels, and at the size of NSD (25,000 trials, 7,600 voxels)
1e6 leaves a handful of components.
"""

RELATIVE_ALPHAS: tuple[float, ...] = tuple(float(10 ** (k / 2)) for k in range(-6, 9))
"""Half decades from 1e-3 to 1e4, in units of the mean eigenvalue of X'X."""


class RidgeSettings(BaseEstimator):
    """The settings that :class:`RidgeEstimator` fits by."""

    # Whether the error is estimated even where there is no penalty to choose.
    _always_estimates_error: ClassVar[bool] = False

    def __init__(
        self,
        alphas: float | Iterable[float] | None = DEFAULT_ALPHAS,
        *,
        selection: Literal["gcv", "cv"] = "gcv",
        alpha_per_target: bool = True,
        fit_intercept: bool = True,
        standardize: bool = True,
        reliability_powers: float | Iterable[float] = (0.0,),
        min_reliability: float | None = None,
        n_folds: int = 5,
        grouped: bool = True,
        average_repeats: bool = True,
        target_block: int = TARGET_BLOCK,
        device: str | None = None,
    ) -> None:
        # An iterator is read once, but an estimator is cloned and fitted again.
        self.alphas = tuple(alphas) if isinstance(alphas, Iterator) else alphas
        self.selection = selection
        self.alpha_per_target = alpha_per_target
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        if isinstance(reliability_powers, Iterator):
            reliability_powers = tuple(reliability_powers)
        self.reliability_powers = reliability_powers
        self.min_reliability = min_reliability
        self.n_folds = n_folds
        self.grouped = grouped
        self.average_repeats = average_repeats
        self.target_block = target_block
        self.device = device

    def _given_alphas(self) -> NDArray[np.float64]:
        given = list(self.alphas) if isinstance(self.alphas, Iterable) else self.alphas
        return np.asarray(given, np.float64)

    @property
    def _powers(self) -> tuple[float, ...]:
        """The exponents of reliability, ascending."""
        return tuple(np.unique(np.asarray(self.reliability_powers, np.float64)).tolist())

    @property
    def _uses_reliability(self) -> bool:
        return any(self._powers) or self.min_reliability is not None

    @property
    def _uses_folds(self) -> bool:
        """Whether trials are read again for cross-validation; a single penalty needs none."""
        is_choice = self.alphas is None or self._given_alphas().size > 1
        is_needed = is_choice or len(self._powers) > 1 or self._always_estimates_error
        return self.selection == "cv" and is_needed

    def _check_settings(self) -> None:
        if self.selection not in ("gcv", "cv"):
            raise ValueError(f'selection is {self.selection!r}: choose "gcv" or "cv".')
        if not self.grouped and self.selection == "gcv":
            raise ValueError('grouped=False has no effect with selection="gcv".')
        for name, least in (("n_folds", 2), ("target_block", 1)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} is {value!r}: give a whole number of {least} or more.")
        if not self._powers or not np.isfinite(self._powers).all() or min(self._powers) < 0:
            raise ValueError(
                f"reliability_powers is {self.reliability_powers!r}: give finite numbers of 0 or "
                "more."
            )

    def _check_has_effect(self, given: ArrayLike | None) -> None:
        if given is not None and not self._uses_reliability:
            raise ValueError(
                "reliability has no effect: reliability_powers is 0 and there is no "
                "min_reliability. Leave it out, or set one of them."
            )
