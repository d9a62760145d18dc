"""Ridge regression, cross-validation and scores: arrays in, arrays out."""

from vox2pix.linear.checks import check_finite
from vox2pix.linear.cross_validation import cv_errors, grouped_folds
from vox2pix.linear.decomposition import Decomposition
from vox2pix.linear.estimator import PER_TARGET, RidgeEstimator
from vox2pix.linear.gcv import gcv_errors
from vox2pix.linear.ridge import TARGET_BLOCK
from vox2pix.linear.scores import pearson_r, r2_score

__all__ = [
    "PER_TARGET",
    "TARGET_BLOCK",
    "Decomposition",
    "RidgeEstimator",
    "check_finite",
    "cv_errors",
    "gcv_errors",
    "grouped_folds",
    "pearson_r",
    "r2_score",
]
