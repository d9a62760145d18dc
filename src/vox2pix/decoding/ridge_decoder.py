"""Ridge regression from voxels to features, in scikit-learn's manner."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from vox2pix.linear import (
    Decomposition,
    NormalEquations,
    check_finite,
    cv_errors,
    decompose,
    fit_ridge,
    grouped_folds,
)
from vox2pix.linear.ridge import TARGET_BLOCK

DEFAULT_ALPHAS: tuple[float, ...] = tuple(float(10 ** (k / 2)) for k in range(13))
"""Half decades from 1 to 1e6.

The mean eigenvalue of X'X is n_trials for z-scored voxels: below 1 ridge is ordinary least squares
wherever there are more trials than voxels, and at the size of NSD (25,000 trials, 7,600 voxels)
1e6 leaves a handful of components.
"""

PER_TARGET = ("coef", "mean", "alpha", "error")
"""Those of a decoder's arrays that hold a row for each target; the rest is the same for all."""
_ARRAYS = (*PER_TARGET, "offset", "dropped")


class RidgeDecoder(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Multi-output ridge regression with a penalty chosen for every target.

    Minimises, for every target j, over all trials t that showed stimulus s(t),

    .. math:: \sum_t (y_{s(t) j} - x_t'w_j - b_j)^2 + \alpha_j |w_j|^2,

    x being z-scored on the training trials if ``standardize``. The normal equations are summed in
    one pass over the trials; one eigendecomposition serves all penalties and targets.

    The eigendecomposition and all sums over trials are done in float64. Products with targets are
    done in the precision of X (float32 for responses in float32), which is also that of ``coef_``.

    Parameters
    ----------
    alphas : float or sequence of float
        Penalties to choose from; a single one is used as it is.
    selection : {"gcv", "cv"}
        How to choose: generalised cross-validation, in which a stimulus is left out with all its
        repeats (:func:`vox2pix.linear.gcv_errors`), or cross-validation over folds grouped by
        stimulus, the exact and slower choice.
    alpha_per_target : bool
        A penalty for each target, or one for all.
    fit_intercept : bool
        Whether targets are centred. Without, predictions of standardized voxels have mean zero.
    standardize : bool
        Whether voxels are z-scored, by mean and standard deviation of the training trials.
    n_folds : int
        Folds of ``selection="cv"``.
    grouped : bool
        Whether these folds keep the repeats of a stimulus together. False replicates a fault.
    average_repeats : bool
        Whether a penalty is judged by predictions from the mean of a stimulus' repeats, as they
        are made at test, or from single trials, which are noisier and ask for more shrinkage.
    target_block : int
        Targets in memory at a time; does not change the result.
    device : str, optional
        Torch device to compute on, such as ``"cuda"``: the same steps in the same precision.
        NumPy by default.

    Attributes
    ----------
    coef_ : ndarray, shape (n_targets, n_features) or (n_features,)
        Weights of the voxels as they are given to :meth:`predict` (not z-scored).
    offset_ : ndarray of float64, shape (n_features,)
        What is subtracted from the voxels: their training means, if they are centred at all.
    mean_ : ndarray of float64, shape (n_targets,) or float
        Training mean of each target (0 without an intercept). The prediction is
        ``(X - offset_) @ coef_.T + mean_``: the baseline of a voxel costs no digits.
    intercept_ : ndarray of float64, shape (n_targets,) or float
        The same as one number for each target, ``X @ coef_.T + intercept_``.
    alpha_ : ndarray, shape (n_targets,) or float
        Penalty chosen.
    error_ : ndarray, shape (n_targets,) or float
        Mean squared error estimated for it; NaN where there was no choice.
    dropped_ : ndarray of int
        Voxels that were constant in training and are not used.
    n_features_in_ : int
        Number of voxels.

    Notes
    -----
    The default was chosen on simulated brains (6,000 trials of 2,000 stimuli, 1,500 voxels, 400
    targets, tested on means of three repeats). ``python benchmarks/ridge.py --selection`` printed
    for mean held-out r, at a signal-to-noise ratio of .4 and of .15:

    ============================================  =====  =====
    best penalty of each target, in hindsight     .6096  .5625
    GCV, stimulus out, means (the default)        .6061  .5558
    five folds by stimulus, means                 .6057  .5546
    GCV, one trial out (the naive criterion)      .6054  .5499
    five folds through repeats, single trials     .6045  .5433
    GCV, stimulus out, single trials              .6023  .5425
    five folds by stimulus, single trials         .6007  .5369
    ============================================  =====  =====

    Single trials are noisier than the averaged responses of a test, and errors on them ask for
    too much shrinkage; what is optimistic in the ungrouped rules happens to offset that. The
    default is honest and judges what the test will ask.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((50, 4))            # one row a stimulus
    >>> rows = np.tile(np.arange(50), 3)                   # each shown three times
    >>> betas = features[rows] @ rng.standard_normal((4, 20)) + rng.standard_normal((150, 20))
    >>> decoder = RidgeDecoder().fit(betas, features, rows=rows)
    >>> decoder.predict(betas).shape
    (150, 4)
    """

    def __init__(
        self,
        alphas: float | Iterable[float] = DEFAULT_ALPHAS,
        *,
        selection: Literal["gcv", "cv"] = "gcv",
        alpha_per_target: bool = True,
        fit_intercept: bool = True,
        standardize: bool = True,
        n_folds: int = 5,
        grouped: bool = True,
        average_repeats: bool = True,
        target_block: int = TARGET_BLOCK,
        device: str | None = None,
    ) -> None:
        self.alphas = alphas
        self.selection = selection
        self.alpha_per_target = alpha_per_target
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.n_folds = n_folds
        self.grouped = grouped
        self.average_repeats = average_repeats
        self.target_block = target_block
        self.device = device

    @classmethod
    def takagi2023(cls, alphas: Iterable[float] | None = None) -> Self:
        """Build the decoder as the code of Takagi & Nishimoto (CVPR 2023) had it.

        Its faults, kept on purpose: no intercept while targets are not centred, so predictions
        lose the training mean; penalties of at most 1, in effect ordinary least squares; five
        contiguous folds that cut through the repeats of a stimulus, scored on single trials.
        Equal to ``himalaya.ridge.RidgeCV(alphas, fit_intercept=False, cv=5)`` on z-scored voxels.

        Parameters
        ----------
        alphas : iterable of float, optional
            Penalties; by default 1e-6 to 1, a decade apart. The follow-up (arXiv 2306.11536) used
            1e4, 2e4 and 4e4.
        """
        grid = [10.0**k for k in range(-6, 1)] if alphas is None else list(alphas)
        return cls(grid, selection="cv", fit_intercept=False, grouped=False, average_repeats=False)

    def fit(
        self,
        X: ArrayLike,
        Y: Any,
        groups: ArrayLike | None = None,
        rows: ArrayLike | None = None,
    ) -> Self:
        """Fit on trials in memory.

        Parameters
        ----------
        X : array_like, shape (n_trials, n_voxels)
            Responses.
        Y : array_like, shape (n_trials, n_targets) or (n_stimuli, n_targets)
            Targets, one row a trial, or with ``rows`` one row a stimulus. May be a memory map or a
            zarr array; it is then read a block of columns at a time.
        groups : array_like, shape (n_trials,), optional
            Trials to hold out together with ``selection="cv"``, such as sessions (with ``rows``;
            repeats of held-out stimuli are then left out of training too) or stimuli (without).
        rows : array_like of int, shape (n_trials,), optional
            Row of Y that belongs to each trial. Give it where stimuli repeat: only then can the
            choice of the penalty tell repeats from new stimuli.

        Returns
        -------
        RidgeDecoder
            Itself.

        Raises
        ------
        ValueError
            If shapes do not fit, a setting is unknown, or a value is NaN or infinite.
        """
        self._check_settings()
        responses = cast(
            NDArray[Any],
            validate_data(
                self,
                X,
                dtype=[np.float64, np.float32],
                ensure_all_finite=False,
                ensure_min_samples=2,
            ),
        )
        targets, is_flat = _targets(Y)
        if rows is None and targets.shape[0] != len(responses):
            raise ValueError(
                f"X has {len(responses)} trials and Y {targets.shape[0]} rows: these are "
                "inconsistent numbers of samples. Give rows, the row of Y of each trial, where Y "
                "has one row a stimulus."
            )
        index = np.arange(len(responses)) if rows is None else np.asarray(rows)
        if groups is not None and np.shape(groups) != (len(responses),):
            raise ValueError(
                f"groups has shape {np.shape(groups)}, but X has {len(responses)} trials."
            )
        equations = NormalEquations(targets.shape[0], self.device)
        equations.add(responses, index, copy=False)
        # Penalties are looked at here once; a single one needs no folds.
        if self.selection == "cv" and np.size(self._grid()) > 1:
            if not self.grouped:
                folds = grouped_folds(np.arange(len(responses)), self.n_folds)
            elif groups is None:
                folds = grouped_folds(index, self.n_folds)
            else:
                folds = grouped_folds(groups, self.n_folds, rows=index)
            errors = cv_errors(
                responses,
                targets,
                index,
                folds,
                self._grid(),
                intercept=self.fit_intercept,
                average_repeats=self.average_repeats,
                target_block=self.target_block,
                device=self.device,
                **self._scaling(equations),
            )
            return self._solve(self._decompose(equations), targets, is_flat, errors)
        return self._solve(self._decompose(equations), targets, is_flat)

    def fit_stream(self, blocks: Iterable[tuple[ArrayLike, ArrayLike]], Y: Any) -> Self:
        """Fit on trials that come in blocks, each read once (``selection="gcv"`` only).

        Parameters
        ----------
        blocks : iterable of (X_block, rows)
            Responses (n_block, n_voxels), float32 or float64, and the row of Y of each trial.
        Y : array_like, shape (n_stimuli, n_targets)
            One row a stimulus; may be a memory map or a zarr array.

        Returns
        -------
        RidgeDecoder
            Itself, fitted as by :meth:`fit` on all blocks together.

        Raises
        ------
        ValueError
            If a block does not fit, a value is NaN or infinite, or there are no blocks.
        """
        targets, is_flat = _targets(Y)
        decomposition = self.decompose_stream(blocks, targets.shape[0])
        return self._solve(decomposition, targets, is_flat)

    def decompose_stream(
        self, blocks: Iterable[tuple[ArrayLike, ArrayLike]], n_stimuli: int
    ) -> Decomposition:
        """Do what does not depend on targets, for :meth:`fit_decomposed` (``selection="gcv"``).

        Parameters
        ----------
        blocks : iterable of (X_block, rows)
            As :meth:`fit_stream` takes them.
        n_stimuli : int
            Rows that the targets will have.

        Returns
        -------
        Decomposition
            Of the trials; it serves any number of fits.

        Raises
        ------
        ValueError
            As :meth:`fit_stream` does.
        """
        self._check_settings()
        if self.selection == "cv" and np.size(self._grid()) > 1:
            raise ValueError(
                'selection="cv" reads trials once a fold, a stream is read once: '
                'use selection="gcv", or fit() with all trials in memory.'
            )
        equations = NormalEquations(n_stimuli, self.device)
        for block, rows in blocks:
            equations.add(block, rows)
        if equations.n_trials == 0:
            raise ValueError("The stream holds no trials.")
        return self._decompose(equations)

    def fit_decomposed(self, decomposition: Decomposition, Y: Any) -> Self:
        """Fit some targets on trials that are decomposed already.

        With a penalty for each target, targets can be fitted in any parts: together the parts are
        what one fit of all would be.

        Parameters
        ----------
        decomposition : Decomposition
            From :meth:`decompose_stream` of a decoder with the same settings.
        Y : array_like, shape (n_stimuli, n_targets)
            One row a stimulus.

        Returns
        -------
        RidgeDecoder
            Itself.

        Raises
        ------
        ValueError
            If a setting is unknown or a target is NaN or infinite.
        """
        self._check_settings()
        return self._solve(decomposition, *_targets(Y))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict targets.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_voxels)
            Responses: single trials, or means over repeats.

        Returns
        -------
        ndarray, shape (n_samples, n_targets) or (n_samples,)

        Raises
        ------
        ValueError
            If the number of voxels differs or a value is NaN or infinite.
        """
        check_is_fitted(self)
        responses = cast(
            NDArray[Any],
            validate_data(
                self, X, dtype=[np.float64, np.float32], ensure_all_finite=False, reset=False
            ),
        )
        check_finite("X", responses)
        # Subtracted in float64 and rounded once.
        centred = np.subtract(responses, self.offset_, out=np.empty_like(responses))
        predictions = centred @ self.coef_.T
        return np.asarray(predictions + np.asarray(self.mean_).astype(predictions.dtype))

    @property
    def intercept_(self) -> Any:
        """What is added to ``X @ coef_.T``, shape (n_targets,); computed when asked."""
        check_is_fitted(self)
        return self.mean_ - self.coef_ @ self.offset_

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted decoder as plain arrays, for ``np.savez`` or safetensors.

        Settings travel as JSON in UTF-8 bytes (``settings``, uint8): nothing is pickled.
        """
        check_is_fitted(self)
        settings = {k: v for k, v in self.get_params().items() if k != "device"}
        settings["alphas"] = np.asarray(self._grid(), float).tolist()
        settings["n_features_in"] = int(self.n_features_in_)
        settings["feature_names_in"] = [str(n) for n in getattr(self, "feature_names_in_", [])]
        arrays = {name: np.asarray(getattr(self, f"{name}_")) for name in _ARRAYS}
        arrays["settings"] = np.frombuffer(json.dumps(settings).encode(), np.uint8).copy()
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike]) -> Self:
        """Rebuild a fitted decoder from what :meth:`to_arrays` returned.

        Parameters
        ----------
        arrays : mapping of str to array
            As returned, or as read back (``np.load(path)``, ``safetensors.numpy.load_file(path)``).

        Raises
        ------
        ValueError
            If an array is missing.
        """
        missing = [name for name in (*_ARRAYS, "settings") if name not in arrays]
        if missing:
            raise ValueError(f"The saved decoder lacks {', '.join(missing)}.")
        settings = json.loads(np.asarray(arrays["settings"], np.uint8).tobytes().decode())
        n_features = settings.pop("n_features_in")
        names = settings.pop("feature_names_in")
        decoder = cls(**settings)
        for name in _ARRAYS:
            value = np.asarray(arrays[name])
            setattr(decoder, f"{name}_", value if value.ndim else value[()])
        decoder.n_features_in_ = n_features
        if names:
            decoder.feature_names_in_ = np.asarray(names, dtype=object)
        return decoder

    def _grid(self) -> NDArray[np.float64]:
        """Return the penalties as an array, whatever they were given as."""
        alphas = self.alphas
        return np.atleast_1d(
            np.asarray(list(alphas) if isinstance(alphas, Iterable) else alphas, np.float64)
        )

    def _check_settings(self) -> None:
        """Refuse settings that no branch below would notice."""
        if self.selection not in ("gcv", "cv"):
            raise ValueError(f'selection is {self.selection!r}: choose "gcv" or "cv".')

    def _scaling(self, equations: NormalEquations) -> dict[str, Any]:
        """Return offset, scale and kept columns for the solver."""
        variance = equations.variance
        kept = variance > 0
        if not self.standardize:
            return {"offset": None, "scale": None, "kept": kept}
        return {
            "offset": equations.mean,
            "scale": np.where(kept, np.sqrt(variance), 1),
            "kept": kept,
        }

    def _decompose(self, equations: NormalEquations) -> Decomposition:
        """Decompose, and say which voxels are of no use."""
        scaling = self._scaling(equations)
        dropped = np.flatnonzero(~scaling["kept"])
        if dropped.size:
            warnings.warn(
                f"{dropped.size} of {equations.n_features} voxels are constant and dropped: "
                f"columns {', '.join(map(str, dropped[:5]))}"
                f"{' ...' if dropped.size > 5 else ''}.",
                UserWarning,
                stacklevel=3,
            )
        return decompose(equations, intercept=self.fit_intercept, overwrite=True, **scaling)

    def _solve(
        self,
        decomposition: Decomposition,
        Y: Any,
        is_flat: bool,
        errors: NDArray[np.float64] | None = None,
    ) -> Self:
        """Choose penalties, and store what is fitted."""
        fit = fit_ridge(
            decomposition,
            Y,
            self._grid(),
            per_target=self.alpha_per_target,
            average_repeats=self.average_repeats,
            errors=errors,
            target_block=self.target_block,
        )
        self.n_features_in_ = len(decomposition.kept)
        self.dropped_ = np.flatnonzero(~decomposition.kept)
        first = 0 if is_flat else slice(None)
        self.coef_ = fit.coef[first]
        self.mean_ = fit.mean[first]
        self.offset_ = fit.offset
        self.alpha_ = fit.alpha[first]
        self.error_ = fit.error[first]
        return self


def _targets(Y: Any) -> tuple[Any, bool]:
    """Return targets as a table that is sliced by columns, and whether they were one column."""
    if Y is None:
        raise ValueError("RidgeDecoder requires y to be passed, but the target y is None.")
    is_lazy = not isinstance(Y, np.ndarray) and all(
        hasattr(Y, name) for name in ("shape", "ndim", "dtype", "__getitem__")
    )
    if is_lazy and not hasattr(Y, "iloc"):
        table = Y
    else:
        table = check_array(Y, dtype="numeric", ensure_2d=False, ensure_all_finite=False)
    if table.ndim == 1:
        return np.asarray(table)[:, None], True
    if table.ndim != 2:
        raise ValueError(f"Y has shape {tuple(table.shape)}: give a table (n_rows, n_targets).")
    return table, False
