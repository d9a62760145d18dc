"""The estimator behind the decoder and the encoding model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from vox2pix.linear import arrays
from vox2pix.linear.checks import check_alphas, check_finite, check_rows
from vox2pix.linear.cross_validation import cv_errors, grouped_folds
from vox2pix.linear.decomposition import Decomposition, decompose
from vox2pix.linear.normal_equations import NormalEquations
from vox2pix.linear.ridge import fit_ridge, iter_fits

RELATIVE_ALPHAS: tuple[float, ...] = tuple(float(10 ** (k / 2)) for k in range(-6, 9))
"""Half decades from 1e-3 to 1e4, in units of the mean eigenvalue of X'X."""

PER_TARGET = ("coef", "mean", "alpha", "error")
"""The arrays of a fitted estimator that have one row per target; all targets share the others."""
_ARRAYS = (*PER_TARGET, "alphas", "offset", "dropped")
_MIN_STIMULI = 3


@dataclass(frozen=True)
class _Trials:
    """Checked training data: trials with positive weight, and targets with one row per stimulus."""

    X: NDArray[Any]
    y: Any
    rows: NDArray[np.intp]
    weights: NDArray[np.float64] | None
    groups: NDArray[Any] | None


class RidgeEstimator(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Multi-output ridge regression; see the two classes that inherit from it.

    Minimises, for every target j, over all trials t with weight :math:`w_t` that showed
    stimulus s(t),

    .. math:: \sum_t w_t (y_{s(t) j} - x_t'\beta_j - b_j)^2 + \alpha_j |\beta_j|^2.
    """

    # With one penalty for all targets, whether errors count relative to the target's variance.
    _relative_errors: ClassVar[bool] = False
    # Whether the error is estimated even where there is no penalty to choose.
    _always_estimates_error: ClassVar[bool] = False
    # Whether predictions are float64, for targets whose baseline float32 cannot hold.
    _predicts_float64: ClassVar[bool] = False
    # What the columns of X are called where constant ones are reported; None reports nothing.
    _reported_columns: ClassVar[str | None] = None

    def __init__(
        self,
        alphas: float | Iterable[float] | None,
        *,
        selection: Literal["gcv", "cv"],
        alpha_per_target: bool,
        standardize: bool,
        n_folds: int,
        target_block: int,
        device: str | None,
        fit_intercept: bool = True,
        grouped: bool = True,
        average_repeats: bool = True,
    ) -> None:
        # An iterator is read once, but an estimator is cloned and fitted again.
        self.alphas = tuple(alphas) if isinstance(alphas, Iterator) else alphas
        self.selection = selection
        self.alpha_per_target = alpha_per_target
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.n_folds = n_folds
        self.grouped = grouped
        self.average_repeats = average_repeats
        self.target_block = target_block
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        y: Any,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        stimuli: ArrayLike | None = None,
    ) -> Self:
        """Fit on trials in memory.

        Parameters
        ----------
        X : array_like, shape (n_trials, n_features)
            One row per trial, or per stimulus where responses are averaged.
        y : array_like, shape (n_trials, n_targets) or (n_stimuli, n_targets)
            Targets. A memory map or a zarr array is read a block of columns at a time.
        groups : array_like, shape (n_trials,), optional
            Trials that ``selection="cv"`` holds out together, such as sessions or clusters. The
            other trials of a stimulus that is held out are then left out of training, too.
        sample_weight : array_like, shape (n_trials,), optional
            Weight of each trial. For a mean over repeats, their number; 0 leaves the trial out.
        stimuli : array_like, shape (n_trials,), optional
            Stimulus of each trial: its row of ``y``. Give it where stimuli repeat: only then can
            the choice of the penalty tell repeats from new stimuli. If ``y`` is an array with one
            row per trial, as ``cross_val_score`` needs it, any label serves.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If shapes do not fit, a setting is unknown, an argument has no effect, or a value is
            NaN or infinite.
        """
        trials, is_flat = self._check_data(X, y, groups, sample_weight, stimuli)
        equations = self._sum(trials)
        scaling = self._scaling(equations)
        decomposition = decompose(equations, overwrite=True, **scaling)
        choice = self._choice(decomposition, trials, scaling)
        return self._store(decomposition, fit_ridge(decomposition, trials.y, **choice), is_flat)

    def fit_then_predict(
        self,
        X: ArrayLike,
        y: Any,
        X_test: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        stimuli: ArrayLike | None = None,
        relative: bool = False,
    ) -> NDArray[Any]:
        """Fit, and predict new rows, without storing coefficients.

        The predictions equal ``fit(X, y).predict(X_test)``; :meth:`predict` cannot follow.

        Parameters
        ----------
        X, y, groups, sample_weight, stimuli
            As in :meth:`fit`.
        X_test : array_like, shape (n_test, n_features)
            The new rows.
        relative : bool
            Whether to return predictions less ``mean_``, in the precision of X (less memory).

        Returns
        -------
        ndarray, shape (n_test, n_targets) or (n_test,)
            float64, or with ``relative`` in the precision of X.
        """
        predictions: NDArray[Any] | None = None
        blocks = self.iter_predictions(
            X, y, X_test, groups=groups, sample_weight=sample_weight, stimuli=stimuli
        )
        for part, predicted in blocks:
            if predictions is None:
                dtype = predicted.dtype if relative else np.dtype(np.float64)
                predictions = np.empty((len(predicted), len(self.mean_)), dtype)
            predictions[:, part] = predicted
            if not relative:
                predictions[:, part] += self.mean_[part]
        assert predictions is not None
        return predictions[:, 0] if np.ndim(y) == 1 else predictions

    def iter_predictions(
        self,
        X: ArrayLike,
        y: Any,
        X_test: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        stimuli: ArrayLike | None = None,
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Fit and predict as :meth:`fit_then_predict`, one block of targets at a time.

        Yields
        ------
        part : slice
            The targets of the block; their ``alpha_``, ``error_`` and ``mean_`` are set.
        predictions : ndarray, shape (n_test, n_targets of the block)
            Less ``mean_[part]``, in the precision of X.
        """
        trials, _ = self._check_data(X, y, groups, sample_weight, stimuli)
        equations = self._sum(trials)
        scaling = self._scaling(equations)
        decomposition = decompose(equations, overwrite=True, **scaling)
        choice = self._choice(decomposition, trials, scaling)
        scores = decomposition.scores(self._check_features(X_test, reset=False))
        if hasattr(self, "coef_"):
            del self.coef_
        self.alpha_, self.error_, self.mean_ = np.empty((3, trials.y.shape[1]))
        for part, projection, alpha, error in iter_fits(decomposition, trials.y, **choice):
            self.alpha_[part], self.error_[part], self.mean_[part] = alpha, error, projection.mean
            predicted = arrays.on_host(scores @ decomposition.shrunk(projection.g, alpha))
            if (projection.scale != 1).any():
                predicted *= projection.scale.astype(predicted.dtype)
            yield part, predicted

    def fit_stream(self, blocks: Iterable[tuple[ArrayLike, ArrayLike]], y: Any) -> Self:
        """Fit on trials that come in blocks, each read once (``selection="gcv"`` only).

        Parameters
        ----------
        blocks : iterable of (X_block, stimuli)
            Trials (n_block, n_features), float32 or float64, and the row of y of each.
        y : array_like, shape (n_stimuli, n_targets)
            One row per stimulus; may be a memory map or a zarr array.

        Returns
        -------
        self
            Fitted as by :meth:`fit` on all blocks together.

        Raises
        ------
        ValueError
            As :meth:`fit`, or if there are no blocks.
        """
        return self.fit_decomposed(self.decompose_stream(blocks, _table(y)[0].shape[0]), y)

    def decompose_stream(
        self, blocks: Iterable[tuple[ArrayLike, ArrayLike]], n_stimuli: int
    ) -> Decomposition:
        """Do what does not depend on the targets, once for many calls of :meth:`fit_decomposed`.

        Parameters
        ----------
        blocks : iterable of (X_block, stimuli)
            As in :meth:`fit_stream`.
        n_stimuli : int
            Number of rows that the targets will have.

        Returns
        -------
        Decomposition

        Raises
        ------
        ValueError
            As :meth:`fit_stream`.
        """
        self._check_settings()
        if self._uses_folds:
            raise ValueError(
                'selection="cv" reads the trials once per fold, but a stream is read once: '
                'use selection="gcv", or fit() with all trials in memory.'
            )
        equations = NormalEquations(n_stimuli, self.device)
        for block, stimuli in blocks:
            equations.add(block, stimuli)
        if equations.n_trials == 0:
            raise ValueError("The stream holds no trials.")
        return decompose(equations, overwrite=True, **self._scaling(equations))

    def fit_decomposed(self, decomposition: Decomposition, y: Any) -> Self:
        """Fit targets on trials that are decomposed already.

        With one penalty per target, targets may be fitted in any parts: together the parts equal
        one fit of all.

        Parameters
        ----------
        decomposition : Decomposition
            From :meth:`decompose_stream` of an estimator with the same settings.
        y : array_like, shape (n_stimuli, n_targets)
            One row per stimulus.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a setting is unknown, or a target is NaN or infinite.
        """
        self._check_settings()
        targets, is_flat = _table(y)
        fit = fit_ridge(decomposition, targets, **self._choice(decomposition))
        return self._store(decomposition, fit, is_flat)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict targets.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            Single trials, or means over repeats.

        Returns
        -------
        ndarray, shape (n_samples, n_targets) or (n_samples,)

        Raises
        ------
        ValueError
            If the number of features differs, or a value is NaN or infinite.
        """
        check_is_fitted(self, "coef_")
        given = self._check_features(X, reset=False)
        # Subtracted in float64 and rounded once.
        centred = np.subtract(given, self.offset_, out=np.empty_like(given))
        predictions = centred @ self.coef_.T
        dtype = np.float64 if self._predicts_float64 else predictions.dtype
        return np.asarray(predictions + np.asarray(self.mean_).astype(dtype))

    @property
    def intercept_(self) -> Any:
        """What is added to ``X @ coef_.T``, shape (n_targets,); computed when asked for."""
        check_is_fitted(self, "coef_")
        return self.mean_ - self.coef_ @ self.offset_

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted estimator as plain arrays, for ``np.savez`` or safetensors.

        ``settings`` (uint8) is JSON in UTF-8: nothing is pickled.
        """
        check_is_fitted(self, "coef_")
        settings = {k: v for k, v in self.get_params().items() if k != "device"}
        if self.alphas is not None:
            settings["alphas"] = np.ravel(self._given_alphas()).tolist()
        settings["n_features_in"] = int(self.n_features_in_)
        settings["feature_names_in"] = [str(n) for n in getattr(self, "feature_names_in_", [])]
        saved = {name: np.asarray(getattr(self, f"{name}_")) for name in _ARRAYS}
        saved["settings"] = np.frombuffer(json.dumps(settings).encode(), np.uint8).copy()
        return saved

    @classmethod
    def from_arrays(cls, saved: Mapping[str, ArrayLike]) -> Self:
        """Rebuild a fitted estimator from what :meth:`to_arrays` returned.

        Parameters
        ----------
        saved : mapping of str to array
            As returned, or as read back (``np.load(path)``, ``safetensors.numpy.load_file(path)``).

        Raises
        ------
        ValueError
            If an array is missing.
        """
        missing = [name for name in (*_ARRAYS, "settings") if name not in saved]
        if missing:
            raise ValueError(f"The saved {cls.__name__} lacks {', '.join(missing)}.")
        settings = json.loads(np.asarray(saved["settings"], np.uint8).tobytes().decode())
        n_features = settings.pop("n_features_in")
        names = settings.pop("feature_names_in")
        estimator = cls(**settings)
        for name in _ARRAYS:
            value = np.asarray(saved[name])
            setattr(estimator, f"{name}_", value if value.ndim else value[()])
        estimator.n_features_in_ = n_features
        if names:
            estimator.feature_names_in_ = np.asarray(names, dtype=object)
        return estimator

    def _given_alphas(self) -> NDArray[np.float64]:
        given = list(self.alphas) if isinstance(self.alphas, Iterable) else self.alphas
        return np.asarray(given, np.float64)

    @property
    def _uses_folds(self) -> bool:
        """Whether trials are read again for cross-validation; a single penalty needs none."""
        is_choice = self.alphas is None or self._given_alphas().size > 1
        return self.selection == "cv" and (is_choice or self._always_estimates_error)

    def _check_settings(self) -> None:
        if self.selection not in ("gcv", "cv"):
            raise ValueError(f'selection is {self.selection!r}: choose "gcv" or "cv".')
        if not self.grouped and self.selection == "gcv":
            raise ValueError('grouped=False has no effect with selection="gcv".')

    def _check_data(
        self,
        X: ArrayLike,
        y: Any,
        groups: ArrayLike | None,
        sample_weight: ArrayLike | None,
        stimuli: ArrayLike | None,
    ) -> tuple[_Trials, bool]:
        """Check what :meth:`fit` was given; return it, and whether y was one column."""
        self._check_settings()
        given = self._check_features(X, reset=True)
        table, is_flat = _table(y)
        targets, rows = _pair(table, stimuli, len(given))
        labels = None if groups is None else np.asarray(groups)
        if labels is not None and not (self._uses_folds and self.grouped):
            raise ValueError(
                'groups has no effect: only folds of selection="cv" with grouped=True, and more '
                "than one penalty to choose from, use it. Leave it out."
            )
        if labels is not None and labels.shape != (len(given),):
            raise ValueError(f"groups has shape {labels.shape}, but X has {len(given)} rows.")
        weights = _weights(sample_weight, len(given))
        if weights is not None and not weights.all():
            used = np.flatnonzero(weights)
            given, rows, weights = given[used], rows[used], weights[used]
            labels = None if labels is None else labels[used]
        return _Trials(given, targets, rows, weights, labels), is_flat

    def _check_features(self, X: ArrayLike, *, reset: bool) -> NDArray[Any]:
        """Return X as a finite table in float32 or float64."""
        given = cast(
            NDArray[Any],
            validate_data(
                self,
                X,
                dtype=[np.float64, np.float32],
                ensure_all_finite=False,
                ensure_min_samples=2 if reset else 1,
                reset=reset,
            ),
        )
        check_finite("X", given)
        return given

    def _sum(self, trials: _Trials) -> NormalEquations:
        equations = NormalEquations(trials.y.shape[0], self.device)
        equations.add(trials.X, trials.rows, trials.weights, copy=False)
        return equations

    def _scaling(self, equations: NormalEquations) -> dict[str, Any]:
        """Return what the solver subtracts, divides by and leaves out; warn of constant columns."""
        variance = equations.variance
        used = variance > 0
        dropped = np.flatnonzero(~used)
        if dropped.size and self._reported_columns:
            warnings.warn(
                f"{dropped.size} of {equations.n_features} {self._reported_columns} are constant "
                f"and dropped: columns {', '.join(map(str, dropped[:5]))}"
                f"{' ...' if dropped.size > 5 else ''}.",
                UserWarning,
                stacklevel=3,
            )
        scaling = {"intercept": self.fit_intercept, "used": used, "offset": None, "scale": None}
        if self.standardize:
            scaling |= {"offset": equations.mean, "scale": np.where(used, np.sqrt(variance), 1)}
        return scaling

    def _choice(
        self,
        decomposition: Decomposition,
        trials: _Trials | None = None,
        scaling: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the penalties and how to choose from them; run the folds if there are any."""
        if self.alphas is None:
            s = decomposition.eigenvalues
            self.alphas_ = (s.mean() if s.size else 1.0) * np.array(RELATIVE_ALPHAS)
        else:
            self.alphas_ = check_alphas(self._given_alphas())
        if len(self.alphas_) > 1 and len(decomposition.stimuli) < _MIN_STIMULI:
            raise ValueError(
                f"There are {len(decomposition.stimuli)} training stimuli: choosing a penalty "
                f"needs at least {_MIN_STIMULI}. Use more stimuli, or give a single penalty."
            )
        errors = None
        if self._uses_folds:
            assert trials is not None and scaling is not None
            errors = cv_errors(
                trials.X,
                trials.y,
                trials.rows,
                self._folds(trials),
                self.alphas_,
                weights=trials.weights,
                average_repeats=self.average_repeats,
                target_block=self.target_block,
                device=self.device,
                **scaling,
            )
        return {
            "alphas": self.alphas_,
            "errors": errors,
            "per_target": self.alpha_per_target,
            "relative": self._relative_errors,
            "estimate": self._always_estimates_error,
            "average_repeats": self.average_repeats,
            "target_block": self.target_block,
        }

    def _folds(self, trials: _Trials) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        if not self.grouped:
            return grouped_folds(np.arange(len(trials.X)), self.n_folds)
        if trials.groups is None:
            return grouped_folds(trials.rows, self.n_folds)
        return grouped_folds(trials.groups, self.n_folds, stimuli=trials.rows)

    def _store(self, decomposition: Decomposition, fit: Any, is_flat: bool) -> Self:
        self.n_features_in_ = len(decomposition.used)
        self.dropped_ = np.flatnonzero(~decomposition.used)
        first = 0 if is_flat else slice(None)
        self.coef_, self.mean_ = fit.coef[first], fit.mean[first]
        self.alpha_, self.error_ = fit.alpha[first], fit.error[first]
        self.offset_ = fit.offset
        return self


def _table(y: Any) -> tuple[Any, bool]:
    """Return targets as a table that is sliced by columns, and whether they were one column."""
    if y is None:
        raise ValueError("The estimator requires y to be passed, but the target y is None.")
    # What is on disk slices by columns, and is neither an array nor a data frame.
    on_disk = hasattr(y, "shape") and not isinstance(y, np.ndarray) and not hasattr(y, "iloc")
    if on_disk and len(y.shape) == 2:
        return y, False
    table = check_array(y, dtype="numeric", ensure_2d=False, ensure_all_finite=False)
    if table.ndim > 2:
        raise ValueError(f"y has shape {table.shape}: give a table (n_rows, n_targets).")
    return (table[:, None], True) if table.ndim == 1 else (table, False)


def _pair(y: Any, stimuli: ArrayLike | None, n_trials: int) -> tuple[Any, NDArray[np.intp]]:
    """Return targets with one row per stimulus, and the row of each trial."""
    if stimuli is None:
        if y.shape[0] != n_trials:
            raise ValueError(
                f"X has {n_trials} rows and y {y.shape[0]}: these are inconsistent numbers of "
                "samples. Where y has one row per stimulus, give stimuli, the row of y of each "
                "trial."
            )
        return y, np.arange(n_trials)
    labels = np.asarray(stimuli)
    if not isinstance(y, np.ndarray) or len(y) != n_trials or labels.shape != (n_trials,):
        return y, check_rows(labels, n_trials, y.shape[0])
    found, first, rows = np.unique(labels, return_index=True, return_inverse=True)
    if np.issubdtype(labels.dtype, np.integer) and np.array_equal(found, np.arange(n_trials)):
        return y, labels  # every stimulus once, in any order
    if not np.array_equal(y[first][rows], y, equal_nan=True):
        raise ValueError(
            f"y has one row per trial ({n_trials}), but its rows differ among trials of one "
            "stimulus. If they are rows of stimuli, remove those that stimuli does not name."
        )
    return y[first], rows


def _weights(sample_weight: ArrayLike | None, n_rows: int) -> NDArray[np.float64] | None:
    """Return one weight per row of X."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, np.float64)
    is_valid = weights.shape == (n_rows,) and np.isfinite(weights).all()
    if not is_valid or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"sample_weight has shape {weights.shape} for {n_rows} rows of X, holds negative, NaN "
            "or infinite values, or only zeros: give the repeats of each row."
        )
    return weights
