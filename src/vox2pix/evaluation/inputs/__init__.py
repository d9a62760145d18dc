"""Collections of images, opened, checked and paired."""

from vox2pix.evaluation.inputs._open_images import open_images
from vox2pix.evaluation.inputs._survey import digest, survey
from vox2pix.evaluation.inputs.collection import ImageCollection
from vox2pix.evaluation.inputs.pairing import Pairs, pair

__all__ = ["ImageCollection", "Pairs", "digest", "open_images", "pair", "survey"]
