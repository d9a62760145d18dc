"""Decoders: responses to features."""

from vox2pix.decoding._cross_predict import cross_predict
from vox2pix.decoding.ridge_decoder import DEFAULT_ALPHAS, PER_TARGET, RidgeDecoder

__all__ = ["DEFAULT_ALPHAS", "PER_TARGET", "RidgeDecoder", "cross_predict"]
