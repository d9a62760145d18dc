"""Ridge regression, cross-validation and scores: arrays in, arrays out."""

from vox2pix.linear.checks import check_finite
from vox2pix.linear.cross_validation import grouped_folds
from vox2pix.linear.decomposition import Decomposition
from vox2pix.linear.estimator import RidgeEstimator
from vox2pix.linear.gcv import gcv_errors
from vox2pix.linear.reliability import CHOOSING_TARGETS
from vox2pix.linear.ridge import TARGET_BLOCK
from vox2pix.linear.saving import PER_TARGET
from vox2pix.linear.scores import pearson_r, r2_score
from vox2pix.linear.settings import DEFAULT_ALPHAS

__all__ = [
    "CHOOSING_TARGETS",
    "DEFAULT_ALPHAS",
    "PER_TARGET",
    "TARGET_BLOCK",
    "Decomposition",
    "RidgeEstimator",
    "check_finite",
    "gcv_errors",
    "grouped_folds",
    "pearson_r",
    "r2_score",
]
