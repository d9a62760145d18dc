"""One latent diffusion model and its ports behind one small interface (diffusers underneath)."""

from vox2pix.diffusion._architecture import Architecture
from vox2pix.diffusion._cost import ModelCost
from vox2pix.diffusion.ip_adapter import IPAdapter
from vox2pix.diffusion.latent_diffusion import LatentDiffusion
from vox2pix.diffusion.networks import Tuning
from vox2pix.diffusion.unclip import UnClip

__all__ = ["Architecture", "IPAdapter", "LatentDiffusion", "ModelCost", "Tuning", "UnClip"]
