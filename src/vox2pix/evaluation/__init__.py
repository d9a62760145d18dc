"""Images against images: images -> features -> statistic -> number, each a pure function."""

from vox2pix.evaluation.comparison import compare, over_samples, pool_subjects
from vox2pix.evaluation.entry import evaluate_images
from vox2pix.evaluation.inputs import ImageCollection, Pairs, digest, open_images
from vox2pix.evaluation.intervals import bootstrap_interval, mean_interval, rate_interval
from vox2pix.evaluation.metrics import (
    correlation_distance,
    identify_jackknife,
    pixcorr,
    retrieval,
    retrieval_chance,
    ssim,
    two_way,
    two_way_jackknife,
    two_way_scores,
)
from vox2pix.evaluation.protocols import PROTOCOLS, Metric, Protocol
from vox2pix.evaluation.published import PUBLISHED, PUBLISHED_RETRIEVAL
from vox2pix.evaluation.records import MetricRecord, score_rows
from vox2pix.evaluation.scoring import Evaluation, score_collections, score_pairs
from vox2pix.evaluation.tables import (
    evaluation_source,
    latex_table,
    published_notes,
    published_rows,
    result_rows,
    save_evaluation,
)
from vox2pix.vision import (
    WEIGHTS,
    Encoder,
    NetworkUnavailableError,
    encoder_files,
    encoder_hashes,
    image_encoder,
    network,
    weights_digest,
)
from vox2pix.vision.images import Resizing, resize_images

__all__ = [
    "PROTOCOLS",
    "PUBLISHED",
    "PUBLISHED_RETRIEVAL",
    "WEIGHTS",
    "Encoder",
    "Evaluation",
    "ImageCollection",
    "Metric",
    "MetricRecord",
    "NetworkUnavailableError",
    "Pairs",
    "Protocol",
    "Resizing",
    "bootstrap_interval",
    "compare",
    "correlation_distance",
    "digest",
    "encoder_files",
    "encoder_hashes",
    "evaluate_images",
    "evaluation_source",
    "identify_jackknife",
    "image_encoder",
    "latex_table",
    "mean_interval",
    "network",
    "open_images",
    "over_samples",
    "pixcorr",
    "pool_subjects",
    "published_notes",
    "published_rows",
    "rate_interval",
    "resize_images",
    "result_rows",
    "retrieval",
    "retrieval_chance",
    "save_evaluation",
    "score_collections",
    "score_pairs",
    "score_rows",
    "ssim",
    "two_way",
    "two_way_jackknife",
    "two_way_scores",
    "weights_digest",
]
