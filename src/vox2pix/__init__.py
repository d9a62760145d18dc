"""vox2pix: images from brain responses, and what in a diffusion model resembles the brain.

The front door. Names are loaded when they are first used, so that ``import vox2pix`` and
``vox2pix --help`` are quick.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

_ROOMS = {
    # data
    "Subject": "data",
    "Split": "data",
    "open_folder": "data",
    "open_nsd": "data",
    "open_glmsingle": "data",
    "open_bids": "data",
    "open_bdata": "data",
    "open_nsd_imagery": "data",
    "open_things": "data",
    "noise_ceiling": "data",
    "simulate": "phantom",
    # the diffusion model, and what is decoded into it
    "LatentDiffusion": "diffusion",
    "IPAdapter": "diffusion",
    "Target": "targets",
    # decoding and reconstruction
    "RidgeDecoder": "decoding",
    "ReconstructionSettings": "generation",
    "image_seeds": "generation",
    "reconstruct": "generation",
    # encoding
    "EncodingModel": "encoding",
    "encoding_scores": "encoding",
    "unique_variance": "encoding",
    # evaluation
    "evaluate_images": "evaluation",
    "image_encoder": "evaluation",
    "pixcorr": "evaluation",
    "ssim": "evaluation",
    "two_way": "evaluation",
    "AuditInputs": "evaluation.audit",
    "audit": "evaluation.audit",
    "compare": "evaluation",
    # experiments
    "Config": "config",
    "load_config": "config",
    "run": "pipeline.commands",
    "encode": "pipeline.commands",
    "transfer": "pipeline.commands",
    "export_decoders": "pipeline.commands",
    "plan": "pipeline.commands",
    "write_report": "report",
    "UserError": "errors",
}

__all__ = list(_ROOMS)
__version__ = version("vox2pix")


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'vox2pix' has no attribute '{name}'")
    return getattr(import_module(f"vox2pix.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
