"""The statistics of images and features, one file each: arrays in, one score per stimulus out."""

from vox2pix.evaluation.metrics._caption_scores import CaptionScore, caption_scores
from vox2pix.evaluation.metrics._correlation_distance import correlation_distance
from vox2pix.evaluation.metrics._pixcorr import pixcorr
from vox2pix.evaluation.metrics._retrieval import N_CANDIDATES, retrieval, retrieval_chance
from vox2pix.evaluation.metrics._ssim import SSIM_WINDOW, ssim
from vox2pix.evaluation.metrics.identification import (
    CHANCE,
    Direction,
    identify_jackknife,
    two_way,
    two_way_jackknife,
    two_way_scores,
)

__all__ = [
    "CHANCE",
    "N_CANDIDATES",
    "SSIM_WINDOW",
    "CaptionScore",
    "Direction",
    "caption_scores",
    "correlation_distance",
    "identify_jackknife",
    "pixcorr",
    "retrieval",
    "retrieval_chance",
    "ssim",
    "two_way",
    "two_way_jackknife",
    "two_way_scores",
]
