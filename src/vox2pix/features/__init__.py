"""The diffusion model's latents over a set of stimuli, computed once and shared by all runs."""

from vox2pix.features.extract import conditioning_features, latent_features

__all__ = ["conditioning_features", "latent_features"]
