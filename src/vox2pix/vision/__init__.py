"""Networks that look at images, each behind one call, and how images are brought to them."""

from vox2pix.vision._network import (
    Encoder,
    Network,
    encoder_files,
    encoder_hashes,
    image_encoder,
    network,
    weights_digest,
)
from vox2pix.vision._size import EncoderSize, encoder_size
from vox2pix.vision.weights import WEIGHTS, NetworkUnavailableError

__all__ = [
    "WEIGHTS",
    "Encoder",
    "EncoderSize",
    "Network",
    "NetworkUnavailableError",
    "encoder_files",
    "encoder_hashes",
    "encoder_size",
    "image_encoder",
    "network",
    "weights_digest",
]
