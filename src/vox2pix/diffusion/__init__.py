"""One latent diffusion model behind one small interface (diffusers underneath)."""

from vox2pix.diffusion.latent_diffusion import LatentDiffusion
from vox2pix.diffusion.networks import Tuning

__all__ = ["LatentDiffusion", "Tuning"]
