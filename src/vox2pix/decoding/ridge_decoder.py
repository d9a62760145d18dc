"""Ridge regression from voxels to features."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Self

from vox2pix.linear import RidgeEstimator


class RidgeDecoder(RidgeEstimator):
    r"""Multi-output ridge regression from voxels to features, a penalty chosen for each feature.

    Minimises, for every target j, over all trials t that showed stimulus s(t),

    .. math:: \sum_t w_t (y_{s(t) j} - x_t'\beta_j - b_j)^2 + \alpha_j |\beta_j|^2,

    x being z-scored on the training trials if ``standardize``, and w the ``sample_weight``. The
    normal equations are summed in one pass over the trials; one eigendecomposition serves all
    penalties and targets. It and all sums over trials are done in float64. Products with targets
    are done in the precision of X, which is also that of ``coef_`` and of predictions.

    Parameters
    ----------
    alphas : float or iterable of float, optional
        Penalties to choose from; a single one is used as it is. None: half decades from 1e-3 to
        1e4 times the mean eigenvalue of X'X.
    selection : {"gcv", "cv"}
        How to choose: generalised cross-validation, in which a stimulus is left out with all its
        repeats (:func:`vox2pix.linear.gcv_errors`), or cross-validation over folds grouped by
        stimulus, the exact and slower choice.
    alpha_per_target : bool
        A penalty for each target, or one for all (least mean error).
    fit_intercept : bool
        Whether targets are centred. Without, predictions of standardized voxels have mean zero.
    standardize : bool
        Whether voxels are z-scored, by mean and standard deviation of the training trials.
    reliability_powers : float or iterable of float
        Exponents g to choose from, for all features together: voxels, as they enter the fit, are
        multiplied by their reliability to the power g, so that a reliable voxel is penalised less.
        0 leaves them equal. Where reliability is spread widely 0.5 and 1 do better, where it is
        uniform 0: offer all three. The criterion is that of the penalty, in units of a feature's
        variance, summed over 1,024 features at most. Each exponent takes one more decomposition.
    min_reliability : float, optional
        Voxels of less reliability are left out.
    n_folds : int
        Folds of ``selection="cv"``.
    grouped : bool
        Whether these folds hold out all repeats of a stimulus together. False reproduces a fault
        of a published decoder.
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
    alphas_ : ndarray of float64, shape (n_alphas,)
        Penalties tried, ascending.
    alpha_ : ndarray, shape (n_targets,) or float
        Penalty chosen.
    error_ : ndarray, shape (n_targets,) or float
        Mean squared error estimated for it; NaN where there was no choice.
    power_ : float
        Exponent of reliability chosen.
    reliability_ : ndarray of float64, shape (n_features,), or None
        What voxels were weighted or left out by: their ncsnr, estimated from the repeats of
        training stimuli unless it was given; 0 where unknown. None where nothing asks for it.
    dropped_ : ndarray of int
        Voxels that are not used: constant in training, or not reliable enough.
    n_features_in_ : int
        Number of voxels.

    Notes
    -----
    The default rule was chosen on simulated brains by ``benchmarks/ridge.py --selection``: at
    signal-to-noise ratios of .4 and .15 it reached a mean held-out r of .6061 and .5558, against
    .6096 and .5625 for the best penalty of each target in hindsight, .6045 and .5433 for folds
    through repeats, and .6007 and .5369 for folds by stimulus judged on single trials, which are
    noisier than the averaged responses of a test and ask for too much shrinkage.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((50, 4))            # one row per stimulus
    >>> shown = np.tile(np.arange(50), 3)                  # each three times
    >>> betas = features[shown] @ rng.standard_normal((4, 20)) + rng.standard_normal((150, 20))
    >>> decoder = RidgeDecoder().fit(betas, features, stimuli=shown)
    >>> decoder.predict(betas).shape
    (150, 4)
    """

    _reported_columns: ClassVar[str | None] = "voxels"

    @classmethod
    def takagi2023(cls, alphas: Iterable[float] | None = None) -> Self:
        """Build the decoder of the code of Takagi & Nishimoto (CVPR 2023).

        Its faults are reproduced on purpose: no intercept while targets are not centred, so
        predictions lose the training mean; penalties of at most 1, in effect ordinary least
        squares; five contiguous folds that cut through the repeats of a stimulus, scored on
        single trials.
        Equal to ``himalaya.ridge.RidgeCV(alphas, fit_intercept=False, cv=5)`` on z-scored voxels.

        Parameters
        ----------
        alphas : iterable of float, optional
            Penalties; by default 1e-6 to 1, a decade apart. The follow-up (arXiv 2306.11536) used
            1e4, 2e4 and 4e4.
        """
        grid = [10.0**k for k in range(-6, 1)] if alphas is None else list(alphas)
        return cls(grid, selection="cv", fit_intercept=False, grouped=False, average_repeats=False)
