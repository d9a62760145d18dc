"""Decoders: from responses to features."""

from vox2pix.decoding.ridge_decoder import RidgeDecoder
from vox2pix.linear import DEFAULT_ALPHAS, PER_TARGET

__all__ = ["DEFAULT_ALPHAS", "PER_TARGET", "RidgeDecoder"]
