"""Voxel-wise ridge regression from the features of a stimulus to responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from vox2pix.linear import TARGET_BLOCK, RidgeEstimator


class EncodingModel(RidgeEstimator):
    r"""Ridge regression from features to every voxel, a penalty chosen for each.

    Minimises, for every voxel v, over stimuli i shown :math:`w_i` times (``sample_weight``),

    .. math:: \sum_i w_i (y_{iv} - x_i'\beta_v - b_v)^2 + \alpha_v |\beta_v|^2,

    y being the mean response to the repeats. One eigendecomposition of X'X, or of XX' where
    features outnumber stimuli, serves all penalties and all voxels, which are fitted in blocks.
    It is done in float64, products with responses in the precision of X. The means of responses
    are subtracted and added in float64, so that scores do not depend on a voxel's baseline.

    Parameters
    ----------
    alphas : float or iterable of float, optional
        Penalties to choose from. None: half decades from 1e-3 to 1e4 times the mean eigenvalue of
        the weighted X'X, as features differ in scale by orders of magnitude and are not z-scored.
    selection : {"gcv", "cv"}
        How to choose: generalised cross-validation (:func:`vox2pix.linear.gcv_errors`), in which
        a stimulus is left out with all its repeats, or cross-validation over folds of whole
        stimuli (of whole ``groups``), the exact and slower choice.
    alpha_per_target : bool
        A penalty for each voxel, or one for all: that of the least error, relative to the
        variance of a voxel, on average over the voxels.
    standardize : bool
        Whether features are divided by their standard deviation over the training stimuli. By
        default they are only centred, so that the large components of a latent count as such.
    n_folds : int
        Folds of ``selection="cv"``.
    target_block : int
        Voxels in memory at a time; does not change the result.
    device : str, optional
        Torch device to compute on, such as ``"cuda"``: the same steps in the same precision.
        NumPy by default.

    Attributes
    ----------
    coef_ : ndarray, shape (n_voxels, n_features)
        Weights of the features, in the precision of X; absent after :meth:`fit_then_predict`.
    offset_ : ndarray of float64, shape (n_features,)
        Weighted mean of the features, which is subtracted from them.
    mean_ : ndarray of float64, shape (n_voxels,)
        Weighted mean response. The prediction is ``(X - offset_) @ coef_.T + mean_``.
    alphas_ : ndarray of float64, shape (n_alphas,)
        Penalties tried, ascending.
    alpha_ : ndarray of float64, shape (n_voxels,)
        Penalty chosen.
    error_ : ndarray of float64, shape (n_voxels,)
        Mean squared error estimated for it.
    dropped_ : ndarray of int
        Features that were constant in training and have no effect.
    n_features_in_ : int
        Number of features.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((60, 100))
    >>> betas = features @ rng.standard_normal((100, 8)) + rng.standard_normal((60, 8))
    >>> model = EncodingModel().fit(features[:50], betas[:50], sample_weight=np.full(50, 3))
    >>> model.predict(features[50:]).shape
    (10, 8)
    """

    _relative_errors: ClassVar[bool] = True
    _always_estimates_error: ClassVar[bool] = True
    _fewest_stimuli: ClassVar[int] = 3
    _predicts_float64: ClassVar[bool] = True

    def __init__(
        self,
        alphas: float | Iterable[float] | None = None,
        *,
        selection: Literal["gcv", "cv"] = "gcv",
        alpha_per_target: bool = True,
        standardize: bool = False,
        n_folds: int = 5,
        target_block: int = TARGET_BLOCK,
        device: str | None = None,
    ) -> None:
        super().__init__(
            alphas,
            selection=selection,
            alpha_per_target=alpha_per_target,
            standardize=standardize,
            n_folds=n_folds,
            target_block=target_block,
            device=device,
        )
