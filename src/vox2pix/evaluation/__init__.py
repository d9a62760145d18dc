"""Pictures against pictures: pictures -> features -> statistic -> number, each a pure function."""

from vox2pix.evaluation.encoders import Encoder, encoder_hashes, image_encoder
from vox2pix.evaluation.identification import two_way, two_way_scores
from vox2pix.evaluation.intervals import bootstrap_interval
from vox2pix.evaluation.metrics import pixcorr, ssim
from vox2pix.evaluation.pictures import resize_pictures
from vox2pix.evaluation.records import (
    MetricRecord,
    evaluate,
    per_picture_scores,
    records_frame,
)

__all__ = [
    "Encoder",
    "MetricRecord",
    "bootstrap_interval",
    "encoder_hashes",
    "evaluate",
    "image_encoder",
    "per_picture_scores",
    "pixcorr",
    "records_frame",
    "resize_pictures",
    "ssim",
    "two_way",
    "two_way_scores",
]
