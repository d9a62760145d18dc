"""Voxel-wise ridge regression from the features of a stimulus to responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from vox2pix.encoding.space import WeightedSpace
from vox2pix.errors import UserError
from vox2pix.linear import arrays, check_alphas, check_finite, grouped_folds

RELATIVE_ALPHAS: tuple[float, ...] = tuple(float(10 ** (k / 2)) for k in range(-6, 9))
"""Half decades from 1e-3 to 1e4, in units of the mean eigenvalue of X'X.

Latents differ in scale by orders of magnitude and are not z-scored, so that no penalties in
absolute units suit them all. At the top a voxel without signal is shrunk to its mean.
"""

_N_NAMED = 5
_MIN_STIMULI = 3


class EncodingModel(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Ridge regression from features to every voxel, a penalty chosen for each.

    Minimises, for every voxel v, over stimuli i shown :math:`w_i` times,

    .. math:: \sum_i w_i (y_{iv} - x_i'\beta_v - b_v)^2 + \alpha_v |\beta_v|^2,

    y being the mean response to the repeats. One eigendecomposition of X'X, or of XX' where
    features outnumber stimuli, serves all penalties and all voxels; voxels come in blocks, and are
    kept as coordinates in that basis (n_stimuli numbers a voxel at most), not as coefficients.

    Parameters
    ----------
    alphas : float or sequence of float, optional
        Penalties to choose from. By default :data:`RELATIVE_ALPHAS` times the mean eigenvalue of
        the weighted X'X.
    selection : {"gcv", "cv"}
        How to choose: generalised cross-validation (Golub, Heath & Wahba 1979, Technometrics 21,
        215-223), in which a stimulus is left out with all its repeats, or cross-validation over
        folds of whole stimuli (of whole ``groups``), the exact and slower choice.
    alpha_per_voxel : bool
        A penalty for each voxel, or one for all: that of the least error, relative to a voxel's
        variance, on average over the voxels.
    standardize : bool
        Whether features are divided by their standard deviation over the training stimuli. By
        default they are only centred, so that the large components of a latent count as such.
    n_folds : int
        Folds of ``selection="cv"``.
    voxel_block : int
        Voxels in memory at a time; does not change the result.
    device : str, optional
        Torch device to compute on, such as ``"cuda"``: the same steps in the same precision.
        NumPy by default.

    Attributes
    ----------
    alphas_ : ndarray of float64, shape (n_alphas,)
        Penalties tried, ascending.
    alpha_ : ndarray of float64, shape (n_voxels,)
        Penalty chosen.
    error_ : ndarray of float64, shape (n_voxels,)
        Mean squared error estimated for it.
    mean_ : ndarray of float64, shape (n_voxels,)
        Weighted mean response.
    scale_ : ndarray of float64, shape (n_voxels,)
        What responses are divided by before anything is squared: a power of two, 1 unless they
        are very small or very large.
    coordinates_ : ndarray, shape (rank, n_voxels)
        Responses, in units of ``scale_``, in the eigenbasis, in the precision of X; absent after
        :meth:`fit_then_predict`.
    n_features_in_ : int
        Number of features.

    Notes
    -----
    The eigendecomposition is done in float64, products with responses in the precision of X.
    Responses are centred in float64 before, and their means added in float64 after, so that
    scores do not depend on a voxel's baseline or scale.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> z = rng.standard_normal((60, 100))
    >>> betas = z @ rng.standard_normal((100, 8)) + rng.standard_normal((60, 8))
    >>> model = EncodingModel().fit(z[:50], betas[:50], sample_weight=np.full(50, 3))
    >>> model.predict(z[50:]).shape
    (10, 8)
    """

    def __init__(
        self,
        alphas: float | Iterable[float] | None = None,
        *,
        selection: Literal["gcv", "cv"] = "gcv",
        alpha_per_voxel: bool = True,
        standardize: bool = False,
        n_folds: int = 5,
        voxel_block: int = 2048,
        device: str | None = None,
    ) -> None:
        self.alphas = alphas
        self.selection = selection
        self.alpha_per_voxel = alpha_per_voxel
        self.standardize = standardize
        self.n_folds = n_folds
        self.voxel_block = voxel_block
        self.device = device

    def fit(
        self,
        X: ArrayLike,
        Y: Any,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit on training stimuli.

        Parameters
        ----------
        X : array_like, shape (n_stimuli, n_features)
            Features, one row a stimulus.
        Y : array_like, shape (n_stimuli, n_voxels)
            Responses, averaged over the repeats of a stimulus. A memory map or a zarr array is
            read a block of columns at a time.
        sample_weight : array_like, shape (n_stimuli,), optional
            Repeats of each stimulus: a mean of three trials counts thrice.
        groups : array_like, shape (n_stimuli,), optional
            Stimuli to hold out together with ``selection="cv"``, such as clusters.

        Returns
        -------
        EncodingModel
            Itself.

        Raises
        ------
        UserError
            If responses are not finite, naming the voxels, or there are too few stimuli.
        ValueError
            If shapes do not fit, a setting is unknown, or a feature is not finite.
        """
        responses, errors = self._start(X, Y, sample_weight, groups)
        rank = len(self._space.decomposition.eigenvalues)
        self.coordinates_ = np.empty((rank, responses.shape[1]), self._space.decomposition.dtype)
        for part, g in self._solve(responses, errors):
            self.coordinates_[:, part] = arrays.on_host(g)
        return self

    def fit_then_predict(
        self,
        X: ArrayLike,
        Y: Any,
        X_test: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        *,
        relative: bool = False,
    ) -> NDArray[Any]:
        """Fit, and predict new stimuli, without keeping what has the size of Y.

        The same numbers as ``fit(X, Y).predict(X_test)``; :meth:`predict` cannot follow.

        Parameters
        ----------
        X, Y, sample_weight, groups
            As in :meth:`fit`.
        X_test : array_like, shape (n_test, n_features)
            Features of the new stimuli.
        relative : bool
            Whether to return predictions less ``mean_``, in the precision of X (less memory).

        Returns
        -------
        ndarray, shape (n_test, n_voxels) or (n_test,)
            float64, or with ``relative`` in the precision of X.
        """
        predictions: NDArray[Any] | None = None
        for part, predicted in self.iter_predictions(X, Y, X_test, sample_weight, groups):
            if predictions is None:
                dtype = predicted.dtype if relative else np.dtype(np.float64)
                predictions = np.empty((len(predicted), len(self.mean_)), dtype)
            predictions[:, part] = predicted
            if not relative:
                predictions[:, part] += self.mean_[part]
        assert predictions is not None
        return predictions[:, 0] if self._is_flat else predictions

    def iter_predictions(
        self,
        X: ArrayLike,
        Y: Any,
        X_test: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Fit and predict as :meth:`fit_then_predict`, a block of voxels at a time.

        Yields
        ------
        part : slice
            Which voxels; what is fitted for them (``alpha_``, ``error_``, ``mean_``) stands.
        predictions : ndarray, shape (n_test, n_voxels of the block)
            Less ``mean_[part]``, in the precision of X.
        """
        responses, errors = self._start(X, Y, sample_weight, groups)
        if hasattr(self, "coordinates_"):
            del self.coordinates_
        scores = self._space.scores(self._checked(X_test, reset=False))
        for part, g in self._solve(responses, errors):
            yield part, self._predict(scores, g, part)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict responses.

        Parameters
        ----------
        X : array_like, shape (n_stimuli, n_features)
            Features.

        Returns
        -------
        ndarray of float64, shape (n_stimuli, n_voxels) or (n_stimuli,)

        Raises
        ------
        ValueError
            If the number of features differs or a value is NaN or infinite.
        """
        check_is_fitted(self, "coordinates_")
        scores = self._space.scores(self._checked(X, reset=False))
        predictions = np.empty((len(scores), len(self.mean_)))
        for part in _blocks(len(self.mean_), self.voxel_block):
            relative = self._predict(scores, self.coordinates_[:, part], part)
            np.add(relative, self.mean_[part], out=predictions[:, part])
        return predictions[:, 0] if self._is_flat else predictions

    @property
    def coef_(self) -> NDArray[Any]:
        """Weights of the features as given, (n_voxels, n_features); computed when asked."""
        check_is_fitted(self, "coordinates_")
        space = self._space
        g = arrays.like(self.coordinates_, space.decomposition.F)
        weights = space.decomposition.weights(g, self.alpha_ / space.weight)
        weights /= space.scale
        weights *= self.scale_[:, None]
        return weights[0] if self._is_flat else weights

    @property
    def intercept_(self) -> Any:
        """What is added to ``X @ coef_.T``, shape (n_voxels,); computed when asked."""
        return self.predict(np.zeros((1, self.n_features_in_)))[0]

    def _predict(self, scores: Any, g: Any, part: slice) -> NDArray[Any]:
        """Predict a block of voxels, less their means, from coordinates of stimuli and voxels."""
        predictions = arrays.on_host(self._space.predict(scores, g, self.alpha_[part]))
        if (self.scale_[part] != 1).any():
            predictions *= self.scale_[part].astype(predictions.dtype)
        return predictions

    def _checked(self, X: ArrayLike, *, reset: bool) -> NDArray[Any]:
        """Return features as a finite table in float32 or float64."""
        features = validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
            reset=reset,
        )
        check_finite("X", features)
        return cast(NDArray[Any], features)

    def _start(
        self, X: ArrayLike, Y: Any, sample_weight: ArrayLike | None, groups: ArrayLike | None
    ) -> tuple[Any, NDArray[np.float64] | None]:
        """Check everything and decompose; return responses, and errors that are known already."""
        if self.selection not in ("gcv", "cv"):
            raise ValueError(f'selection is {self.selection!r}: choose "gcv" or "cv".')
        features = self._checked(X, reset=True)
        responses, self._is_flat = _responses(Y, len(features))
        weights = _weights(sample_weight, len(features))
        shown = np.flatnonzero(weights)
        if len(shown) < _MIN_STIMULI:
            raise UserError(
                f"An encoding model needs at least {_MIN_STIMULI} training stimuli, not "
                f"{len(shown)}; use more sessions."
            )
        labels = np.arange(len(features)) if groups is None else np.asarray(groups)
        if labels.shape != (len(features),):
            raise ValueError(f"groups has shape {labels.shape}, but X has {len(features)} stimuli.")
        n_groups = len(np.unique(labels[shown]))
        if self.selection == "cv" and n_groups < self.n_folds:
            raise UserError(
                f"There are {n_groups} training stimuli (or groups of them) for {self.n_folds} "
                f"folds; use at most {n_groups} folds, or more stimuli."
            )
        scale = _scale(features, weights) if self.standardize else np.ones(features.shape[1])
        self._space = space = WeightedSpace.of(features, weights, scale, shown, self.device)
        s = space.decomposition.eigenvalues
        if self.alphas is None:
            unit = space.weight * s.mean() if s.size else 1.0
            self.alphas_ = unit * np.array(RELATIVE_ALPHAS)
        else:
            given = self.alphas
            self.alphas_ = check_alphas(list(given) if isinstance(given, Iterable) else given)
        n_voxels = responses.shape[1]
        self.alpha_, self.error_, self.mean_, self.scale_ = np.empty((4, n_voxels))
        errors = None
        if self.selection == "cv":
            folds = [
                (shown[train], shown[test])
                for train, test in grouped_folds(labels[shown], self.n_folds)
            ]
            errors = self._cv_errors(features, weights, scale, responses, folds)
        elif not self.alpha_per_voxel:
            errors = np.hstack(
                [
                    space.errors(space.decomposition.project(values), self.alphas_)
                    for _, values in _read(responses, self.voxel_block)
                ]
            )
        if errors is not None and not self.alpha_per_voxel:
            errors = self._shared_errors(errors, responses, weights)
        return responses, errors

    def _shared_errors(
        self, errors: NDArray[np.float64], responses: Any, weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Leave the errors of the penalty that is best for all, each in units of its variance."""
        share = weights / weights.sum()
        relative = np.zeros(len(errors))
        for part, values in _read(responses, self.voxel_block):
            centred = values - np.einsum("i,ij->j", share, values)
            variance = np.einsum("i,ij,ij->j", share, centred, centred)
            varied = np.ptp(values, axis=0) > 0
            relative += (errors[:, part][:, varied] / variance[varied]).sum(axis=1)
        best = np.arange(len(errors)) == np.argmin(relative)
        return np.where(best[:, None], errors, np.inf)

    def _cv_errors(
        self,
        X: NDArray[Any],
        weights: NDArray[np.float64],
        scale: NDArray[np.float64],
        responses: Any,
        folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    ) -> NDArray[np.float64]:
        """Held-out weighted squared error of every penalty and voxel, mean over folds."""
        errors = np.zeros((len(self.alphas_), responses.shape[1]))
        for train, test in folds:
            space = WeightedSpace.of(X, weights, scale, train, self.device)
            scores = space.scores(X[test])
            share = weights[test] / weights[test].sum() / len(folds)
            for part, values in _read(responses, self.voxel_block):
                projection = space.decomposition.project(values)
                truth = arrays.like(projection.truth(values[test]), scores)
                for i, alpha in enumerate(self.alphas_):
                    residual = truth - space.predict(scores, projection.g, alpha)
                    squares = share @ arrays.on_host(arrays.squares(residual))
                    errors[i, part] += squares * projection.scale**2
        return errors

    def _solve(
        self, responses: Any, errors: NDArray[np.float64] | None
    ) -> Iterator[tuple[slice, Any]]:
        """Choose penalties block by block; yield the coordinates of each block of voxels."""
        for part, values in _read(responses, self.voxel_block):
            projection = self._space.decomposition.project(values)
            if errors is None:
                of_block = self._space.errors(projection, self.alphas_)
            else:
                of_block = errors[:, part]
            best = np.argmin(of_block, axis=0)
            self.alpha_[part] = self.alphas_[best]
            self.error_[part] = np.take_along_axis(of_block, best[None], axis=0)[0]
            self.mean_[part], self.scale_[part] = projection.mean, projection.scale
            yield part, projection.g


def _blocks(n_voxels: int, size: int) -> Iterator[slice]:
    for lo in range(0, n_voxels, size):
        yield slice(lo, min(lo + size, n_voxels))


def _read(responses: Any, size: int) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield blocks of voxels, checked as they come: what lies on disk is not read twice."""
    for part in _blocks(responses.shape[1], size):
        values = np.asarray(responses[:, part])
        if not np.isfinite(values).all():
            _refuse_voxels(responses, size)
        yield part, values


def _responses(Y: Any, n_stimuli: int) -> tuple[Any, bool]:
    """Return responses as a table that is sliced by columns, and whether they were one column."""
    if Y is None:
        raise ValueError("EncodingModel requires y to be passed, but the target y is None.")
    # What lies on disk slices by columns, and is neither an array nor a data frame.
    on_disk = hasattr(Y, "shape") and not isinstance(Y, np.ndarray) and not hasattr(Y, "iloc")
    table = Y
    if not (on_disk and len(Y.shape) == 2):
        table = check_array(Y, dtype="numeric", ensure_2d=False, ensure_all_finite=False)
    if len(table.shape) > 2 or table.shape[0] != n_stimuli:
        raise ValueError(
            f"X has {n_stimuli} stimuli and Y the shape {tuple(table.shape)}: these are "
            "inconsistent numbers of samples. Give a table (n_stimuli, n_voxels)."
        )
    return (table[:, None], True) if len(table.shape) == 1 else (table, False)


def _weights(sample_weight: ArrayLike | None, n_stimuli: int) -> NDArray[np.float64]:
    """Return a weight a stimulus."""
    if sample_weight is None:
        return np.ones(n_stimuli)
    weights = np.asarray(sample_weight, np.float64)
    valid = weights.shape == (n_stimuli,) and np.isfinite(weights).all()
    if not valid or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"sample_weight has shape {weights.shape} for {n_stimuli} stimuli, holds negative or "
            "infinite values, or only zeros: give the repeats of each stimulus."
        )
    return weights


def _scale(X: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted standard deviation of each feature, 1 where it is constant."""
    share = weights / weights.sum()
    centred = X - np.einsum("i,ij->j", share, X)
    deviation = np.sqrt(np.einsum("i,ij,ij->j", share, centred, centred))
    return np.where(np.ptp(X[weights > 0], axis=0) > 0, deviation, 1)


def _refuse_voxels(responses: Any, size: int) -> None:
    """Name all voxels that are not finite."""
    blocks = _blocks(responses.shape[1], size)
    bad = np.concatenate([~np.isfinite(responses[:, part]).all(axis=0) for part in blocks])
    named = ", ".join(map(str, np.flatnonzero(bad)[:_N_NAMED]))
    more = ", ..." if bad.sum() > _N_NAMED else ""
    raise UserError(
        f"The responses of {bad.sum()} of {len(bad)} voxels hold NaN or infinite values "
        f"(columns {named}{more}, counted from 0); leave these voxels out or repair them."
    )
