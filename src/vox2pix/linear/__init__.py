"""Ridge regression, cross-validation and scores: arrays in, arrays out."""

from vox2pix.linear import arrays
from vox2pix.linear.checks import check_finite
from vox2pix.linear.cross_validation import cv_errors, grouped_folds
from vox2pix.linear.decomposition import Decomposition, Projection, decompose
from vox2pix.linear.estimator import PER_TARGET, RELATIVE_ALPHAS, RidgeEstimator
from vox2pix.linear.gcv import gcv_errors
from vox2pix.linear.normal_equations import NormalEquations
from vox2pix.linear.ridge import TARGET_BLOCK, RidgeFit, fit_ridge
from vox2pix.linear.scores import pearson_r, r2_score

__all__ = [
    "PER_TARGET",
    "RELATIVE_ALPHAS",
    "TARGET_BLOCK",
    "Decomposition",
    "NormalEquations",
    "Projection",
    "RidgeEstimator",
    "RidgeFit",
    "arrays",
    "check_finite",
    "cv_errors",
    "decompose",
    "fit_ridge",
    "gcv_errors",
    "grouped_folds",
    "pearson_r",
    "r2_score",
]
