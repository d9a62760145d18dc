"""Decoders: responses to features."""

from vox2pix.decoding.ridge_decoder import DEFAULT_ALPHAS, RidgeDecoder, cross_predict

__all__ = ["DEFAULT_ALPHAS", "RidgeDecoder", "cross_predict"]
