"""The estimator behind the decoder and the encoding model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from vox2pix.linear import arrays, checks
from vox2pix.linear.checks import Trials, as_table
from vox2pix.linear.cross_validation import Fold, cv_errors, grouped_folds
from vox2pix.linear.decomposition import Decomposition, decompose
from vox2pix.linear.normal_equations import NormalEquations, Scaling
from vox2pix.linear.reliability import check_reliability, ncsnr, some_columns, weighted
from vox2pix.linear.ridge import iter_fits
from vox2pix.linear.saving import SavedAsArrays
from vox2pix.linear.settings import RELATIVE_ALPHAS


class RidgeEstimator(MultiOutputMixin, RegressorMixin, SavedAsArrays):
    """What :class:`~vox2pix.RidgeDecoder` and :class:`~vox2pix.encoding.EncodingModel` share.

    Class attributes say how they differ; the decoder's settings are the defaults.
    """

    # With one penalty for all targets, whether errors count relative to the target's variance.
    _relative_errors: ClassVar[bool] = False
    # Fewest training stimuli.
    _fewest_stimuli: ClassVar[int] = 1
    # Whether predictions are float64, for targets whose baseline float32 cannot hold.
    _predicts_float64: ClassVar[bool] = False
    # What the columns of X are called where constant ones are reported; None reports nothing.
    _reported_columns: ClassVar[str | None] = None

    def fit(
        self,
        X: ArrayLike,
        y: Any,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        stimuli: ArrayLike | None = None,
        reliability: ArrayLike | None = None,
    ) -> Self:
        """Fit on trials in memory.

        Parameters
        ----------
        X : array_like, shape (n_trials, n_features)
            One row per trial, or per stimulus where responses are averaged.
        y : array_like, shape (n_trials, n_targets) or (n_stimuli, n_targets)
            Targets. A memory map or a zarr array is read in blocks of columns.
        groups : array_like, shape (n_trials,), optional
            Trials that ``selection="cv"`` holds out together, such as sessions or clusters. The
            other trials of a stimulus that is held out are then left out of training, too.
        sample_weight : array_like, shape (n_trials,), optional
            Weight of each trial. For a mean over repeats, their number; 0 leaves the trial out.
        stimuli : array_like, shape (n_trials,), optional
            Stimulus of each trial: its row of ``y``. Give it where stimuli repeat: only then can
            the choice of the penalty tell repeats from new stimuli. If ``y`` is an array with one
            row per trial, as ``cross_val_score`` needs it, any label serves.
        reliability : array_like, shape (n_features,), optional
            Reliability of each column of X, for ``reliability_powers`` and ``min_reliability``. By
            default it is estimated from the repeats of stimuli among these trials.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If shapes do not fit, a setting is unknown, an argument has no effect, or a value is
            NaN or infinite.
        """
        data, is_flat = self._check(X, y, groups, sample_weight, stimuli, reliability)
        equations = self._sum(data)
        scalings = self._scalings(equations, data.reliability)
        decomposition = self._best(equations, scalings, data.y, data) or decompose(
            equations, scalings[0], intercept=self.fit_intercept, overwrite=True
        )
        return self._solve(decomposition, data.y, is_flat, self._choice(decomposition, data))

    def fit_then_predict(
        self,
        X: ArrayLike,
        y: Any,
        X_test: ArrayLike,
        *,
        relative: bool = False,
        **trials: ArrayLike | None,
    ) -> NDArray[Any]:
        """Fit, and predict new rows, without storing coefficients.

        The predictions equal ``fit(X, y).predict(X_test)``; :meth:`predict` cannot follow.

        Parameters
        ----------
        X, y
            As in :meth:`fit`.
        X_test : array_like, shape (n_test, n_features)
            The new rows.
        relative : bool
            Whether to return predictions less ``mean_``, in the precision of X (less memory).
        **trials
            ``groups``, ``sample_weight``, ``stimuli`` and ``reliability``, as in :meth:`fit`.

        Returns
        -------
        ndarray, shape (n_test, n_targets) or (n_test,)
            float64, or with ``relative`` in the precision of X.
        """
        predictions: NDArray[Any] | None = None
        for part, predicted in self.iter_predictions(X, y, X_test, **trials):
            if predictions is None:
                dtype = predicted.dtype if relative else np.dtype(np.float64)
                predictions = np.empty((len(predicted), len(self.mean_)), dtype)
            predictions[:, part] = predicted
            if not relative:
                predictions[:, part] += self.mean_[part]
        assert predictions is not None
        return predictions[:, 0] if as_table(y)[1] else predictions

    def iter_predictions(
        self, X: ArrayLike, y: Any, X_test: ArrayLike, **trials: ArrayLike | None
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Fit and predict as :meth:`fit_then_predict`, one block of targets at a time.

        Yields
        ------
        part : slice
            The targets of the block; their ``alpha_``, ``error_`` and ``mean_`` are set.
        predictions : ndarray, shape (n_test, n_targets of the block)
            Less ``mean_[part]``, in the precision of X.
        """
        data, _ = self._check(X, y, **trials)
        equations = self._sum(data)
        scalings = self._scalings(equations, data.reliability)
        decomposition = self._best(equations, scalings, data.y, data) or decompose(
            equations, scalings[0], intercept=self.fit_intercept, overwrite=True
        )
        choice = self._choice(decomposition, data)
        scores = decomposition.scores(self._check_features(X_test, reset=False))
        if hasattr(self, "coef_"):
            del self.coef_
        self.power_ = decomposition.scaling.power
        self.reliability_ = decomposition.scaling.reliability
        self.alpha_, self.error_, self.mean_ = np.empty((3, data.y.shape[1]))
        for part, projection, alpha, error in iter_fits(decomposition, data.y, **choice):
            self.alpha_[part], self.error_[part], self.mean_[part] = alpha, error, projection.mean
            predicted = arrays.on_host(scores @ decomposition.shrunk(projection.g, alpha))
            if (projection.scale != 1).any():
                predicted *= projection.scale.astype(predicted.dtype)
            yield part, predicted

    def fit_stream(
        self,
        blocks: Iterable[tuple[ArrayLike, ArrayLike]],
        y: Any,
        *,
        reliability: ArrayLike | None = None,
    ) -> Self:
        """Fit on trials that come in blocks, each read once (``selection="gcv"`` only).

        Parameters
        ----------
        blocks : iterable of (X_block, stimuli)
            Trials (n_block, n_features), float32 or float64, and the row of y of each.
        y : array_like, shape (n_stimuli, n_targets)
            One row per stimulus; may be a memory map or a zarr array.
        reliability : array_like, shape (n_features,), optional
            As in :meth:`fit`.
        """
        return self.fit_decomposed(self.decompose_stream(blocks, y, reliability=reliability), y)

    def decompose_stream(
        self,
        blocks: Iterable[tuple[ArrayLike, ArrayLike]],
        y: Any,
        *,
        reliability: ArrayLike | None = None,
    ) -> Decomposition:
        """Do what is the same for all targets, once for many calls of :meth:`fit_decomposed`.

        Parameters
        ----------
        blocks : iterable of (X_block, stimuli)
            As in :meth:`fit_stream`.
        y : array_like, shape (n_stimuli, n_targets)
            All targets. Their number of rows matters, and, to choose among several
            ``reliability_powers``, the values of some of them.
        reliability : array_like, shape (n_features,), optional
            As in :meth:`fit`.
        """
        self._check_settings()
        self._check_has_effect(reliability)
        if self._uses_folds:
            raise ValueError(
                'selection="cv" reads the trials once per fold, but a stream is read once: '
                'use selection="gcv", or fit() with all trials in memory.'
            )
        targets = as_table(y)[0]
        equations = NormalEquations(targets.shape[0], self.device)
        for block, stimuli in blocks:
            equations.add(block, stimuli)
        if equations.n_trials == 0:
            raise ValueError("The stream holds no trials.")
        scalings = self._scalings(equations, reliability)
        return self._best(equations, scalings, targets) or decompose(
            equations, scalings[0], intercept=self.fit_intercept, overwrite=True
        )

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
        """
        self._check_settings()
        return self._solve(decomposition, *as_table(y), self._choice(decomposition))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict targets.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            Single trials, or means over repeats; ValueError if a value is NaN or infinite.

        Returns
        -------
        ndarray, shape (n_samples, n_targets) or (n_samples,)
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

    def _check(
        self,
        X: ArrayLike,
        y: Any,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        stimuli: ArrayLike | None = None,
        reliability: ArrayLike | None = None,
    ) -> tuple[Trials, bool]:
        """Check what :meth:`fit` was given; return it, and whether y was one column."""
        self._check_settings()
        if groups is not None and not (self._uses_folds and self.grouped):
            raise ValueError(
                'groups has no effect: it names the folds of selection="cv" with grouped=True, '
                "where there is more than one penalty to choose from. Leave it out."
            )
        self._check_has_effect(reliability)
        given = self._check_features(X, reset=True)
        table, is_flat = as_table(y)
        trials = checks.check_trials(given, table, groups, sample_weight, stimuli)
        return replace(trials, reliability=reliability), is_flat

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
        checks.check_finite("X", given)
        return given

    def _sum(self, trials: Trials) -> NormalEquations:
        equations = NormalEquations(trials.y.shape[0], self.device)
        equations.add(trials.X, trials.rows, trials.weights, copy=False)
        return equations

    def _scalings(self, equations: NormalEquations, given: ArrayLike | None) -> list[Scaling]:
        """Return what X is brought to, for each power of reliability; warn of constant columns."""
        centre = self.fit_intercept or self.standardize
        scaling = equations.scaling(centre=centre, standardize=self.standardize)
        dropped = np.flatnonzero(~scaling.used)
        if dropped.size and self._reported_columns:
            warnings.warn(
                f"{dropped.size} of {equations.n_features} {self._reported_columns} are constant "
                f"and dropped: columns {checks.listed(dropped)}.",
                UserWarning,
                stacklevel=3,
            )
        if not self._uses_reliability:
            return [scaling]
        n, powers = equations.n_features, self._powers
        ratio = ncsnr(equations) if given is None else check_reliability(given, n)
        return weighted(scaling, equations.variance, ratio, powers, self.min_reliability)

    def _best(
        self,
        equations: NormalEquations,
        scalings: Sequence[Scaling],
        y: Any,
        trials: Trials | None = None,
    ) -> Decomposition | None:
        """Return the decomposition of least error over some of the targets; None without choice.

        The error of a target counts in units of its variance.
        """
        if len(scalings) == 1:
            return None
        best, least, some = None, np.inf, some_columns(y)
        for scaling in scalings:
            is_last = scaling is scalings[-1]  # it may have the matrix
            decomposition = decompose(
                equations, scaling, intercept=self.fit_intercept, overwrite=is_last
            )
            on_some = None if trials is None else replace(trials, y=some)
            choice = self._choice(decomposition, on_some) | {"estimate": True}
            error = 0.0
            for _, projection, _, errors in iter_fits(decomposition, some, **choice):
                variance = projection.total * projection.scale**2
                error += float((errors[variance > 0] / variance[variance > 0]).sum())
            if best is None or error < least:
                best, least = decomposition, error
        return best

    def _choice(self, decomposition: Decomposition, trials: Trials | None = None) -> dict[str, Any]:
        """Return what :func:`iter_fits` chooses from; run the folds if there are any."""
        if self.alphas is None:
            s = decomposition.eigenvalues
            self.alphas_ = (s.mean() if s.size else 1.0) * np.array(RELATIVE_ALPHAS)
        else:
            self.alphas_ = checks.check_alphas(self._given_alphas())
        n_stimuli = len(decomposition.stimuli)
        if n_stimuli < self._fewest_stimuli:
            raise ValueError(
                f"There are {n_stimuli} training stimuli, but {type(self).__name__} needs at least "
                f"{self._fewest_stimuli}: use more stimuli."
            )
        common: dict[str, Any] = {
            "average_repeats": self.average_repeats,
            "target_block": self.target_block,
        }
        errors = None
        if trials is not None and self._uses_folds:
            errors = cv_errors(
                trials.X,
                trials.y,
                trials.rows,
                self._folds(trials),
                self.alphas_,
                weights=trials.weights,
                scaling=decomposition.scaling,
                intercept=self.fit_intercept,
                device=self.device,
                **common,
            )
        return common | {
            "alphas": self.alphas_,
            "errors": errors,
            "per_target": self.alpha_per_target,
            "relative": self._relative_errors,
            "estimate": self._always_estimates_error,
        }

    def _folds(self, trials: Trials) -> list[Fold]:
        if not self.grouped:
            return grouped_folds(np.arange(len(trials.X)), self.n_folds)
        if trials.groups is None:
            return grouped_folds(trials.rows, self.n_folds)
        return grouped_folds(trials.groups, self.n_folds, stimuli=trials.rows)

    def _solve(
        self, decomposition: Decomposition, y: Any, is_flat: bool, choice: dict[str, Any]
    ) -> Self:
        """Choose penalties, compute weights and store what is fitted."""
        n_targets, n_features = y.shape[1], len(decomposition.scaling.used)
        coef = np.empty((n_targets, n_features), decomposition.dtype)
        mean, alpha, error = np.empty((3, n_targets))
        for part, projection, chosen, estimated in iter_fits(decomposition, y, **choice):
            coef[part] = decomposition.weights(projection.g, chosen)
            if (projection.scale != 1).any():
                coef[part] *= projection.scale[:, None].astype(coef.dtype)
            mean[part], alpha[part], error[part] = projection.mean, chosen, estimated
        first = 0 if is_flat else slice(None)
        self.coef_, self.mean_ = coef[first], mean[first]
        self.alpha_, self.error_ = alpha[first], error[first]
        self.offset_ = decomposition.scaling.offset
        self.dropped_ = np.flatnonzero(~decomposition.scaling.used)
        self.power_ = decomposition.scaling.power
        self.reliability_ = decomposition.scaling.reliability
        self.n_features_in_ = n_features
        return self
