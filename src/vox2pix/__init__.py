"""vox2pix: images from brain responses, and what in a diffusion model looks like the brain.

The front door. Names are loaded when they are first asked for, so that ``import vox2pix`` and
``vox2pix --help`` are quick.
"""

from importlib import import_module
from typing import Any

_ROOMS = {
    "Config": "vox2pix.config",
    "LatentDiffusion": "vox2pix.diffusion",
    "RidgeDecoder": "vox2pix.decoding",
    "Subject": "vox2pix.data",
    "UserError": "vox2pix.errors",
    "load_config": "vox2pix.config",
    "open_folder": "vox2pix.data",
    "open_nsd": "vox2pix.data",
    "reconstruct": "vox2pix.generation",
    "run": "vox2pix.pipeline",
    "simulate": "vox2pix.phantom",
}

__all__ = sorted(_ROOMS)


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'vox2pix' has no attribute '{name}'")
    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
