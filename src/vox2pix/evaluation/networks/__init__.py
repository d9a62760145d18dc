"""Networks that features of images are read from."""

from vox2pix.evaluation.networks._network import (
    Encoder,
    Network,
    encoder_files,
    encoder_hashes,
    image_encoder,
    network,
    weights_digest,
)
from vox2pix.evaluation.networks.weights import WEIGHTS, NetworkUnavailableError

__all__ = [
    "WEIGHTS",
    "Encoder",
    "Network",
    "NetworkUnavailableError",
    "encoder_files",
    "encoder_hashes",
    "image_encoder",
    "network",
    "weights_digest",
]
