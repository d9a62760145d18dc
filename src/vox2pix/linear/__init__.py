"""Ridge solvers, cross-validation and scores: arrays in, arrays out."""

from vox2pix.linear.cross_validation import cv_errors, grouped_folds
from vox2pix.linear.normal_equations import NormalEquations, check_finite
from vox2pix.linear.ridge import (
    Decomposition,
    RidgeFit,
    decompose,
    fit_ridge,
    gcv_errors,
)
from vox2pix.linear.scores import pearson_r, r2_score

__all__ = [
    "Decomposition",
    "NormalEquations",
    "RidgeFit",
    "check_finite",
    "cv_errors",
    "decompose",
    "fit_ridge",
    "gcv_errors",
    "grouped_folds",
    "pearson_r",
    "r2_score",
]
