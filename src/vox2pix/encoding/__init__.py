"""Encoding: from features of the diffusion model to responses, and how sure that is."""

from vox2pix.encoding.ceiling import ncsnr_ceiling, normalised_r, split_half_ceiling
from vox2pix.encoding.comparison import Comparison, compare, roi_means, unique_means
from vox2pix.encoding.model import EncodingModel
from vox2pix.encoding.scores import EncodingScores, encoding_scores
from vox2pix.encoding.significance import fdr, gaussian_p, permutation_p
from vox2pix.encoding.unique import UniqueVariance, unique_variance

__all__ = [
    "Comparison",
    "EncodingModel",
    "EncodingScores",
    "UniqueVariance",
    "compare",
    "encoding_scores",
    "fdr",
    "gaussian_p",
    "ncsnr_ceiling",
    "normalised_r",
    "permutation_p",
    "roi_means",
    "split_half_ceiling",
    "unique_means",
    "unique_variance",
]
