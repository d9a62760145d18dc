"""Decoders: from responses to features."""

from vox2pix.decoding._cross_predict import cross_predict
from vox2pix.decoding.ridge_decoder import DEFAULT_ALPHAS, RidgeDecoder
from vox2pix.linear import PER_TARGET

__all__ = ["DEFAULT_ALPHAS", "PER_TARGET", "RidgeDecoder", "cross_predict"]
