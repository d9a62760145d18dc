"""Ridge solvers, cross-validation and scores: arrays in, arrays out."""

from vox2pix.linear import arrays
from vox2pix.linear.cross_validation import cv_errors, grouped_folds
from vox2pix.linear.decomposition import Decomposition, Projection, decompose
from vox2pix.linear.gcv import gcv_errors
from vox2pix.linear.normal_equations import NormalEquations, check_finite
from vox2pix.linear.ridge import RidgeFit, check_alphas, fit_ridge
from vox2pix.linear.scores import pearson_r, r2_score

__all__ = [
    "Decomposition",
    "NormalEquations",
    "Projection",
    "RidgeFit",
    "arrays",
    "check_alphas",
    "check_finite",
    "cv_errors",
    "decompose",
    "fit_ridge",
    "gcv_errors",
    "grouped_folds",
    "pearson_r",
    "r2_score",
]
