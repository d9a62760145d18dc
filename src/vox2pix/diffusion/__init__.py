"""One latent diffusion model behind one small interface (diffusers underneath)."""

from vox2pix.diffusion.latent_diffusion import LatentDiffusion

__all__ = ["LatentDiffusion"]
