"""How large a CLIP image encoder is: its embedding, its weights and its operations."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from vox2pix.compute import count_flops
from vox2pix.errors import UserError
from vox2pix.vision.image_processors import read_settings
from vox2pix.vision.transformers_models import find_folder
from vox2pix.vision.weights import NetworkUnavailableError

# vision_config of published models, for planning before their weights are there, as far as it
# differs from the class's defaults: openai/clip-vit-large-patch14, and of laion the encoders
# CLIP-ViT-H-14-laion2B-s32B-b79K and CLIP-ViT-bigG-14-laion2B-39B-b160k.
_PUBLISHED: dict[str, dict[str, int]] = {
    "clip-vit-large-patch14": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "patch_size": 14, "projection_dim": 768,
    },
    "CLIP-ViT-H-14": {
        "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
        "num_attention_heads": 16, "patch_size": 14, "projection_dim": 1024,
    },
    "CLIP-ViT-bigG-14": {
        "hidden_size": 1664, "intermediate_size": 8192, "num_hidden_layers": 48,
        "num_attention_heads": 16, "patch_size": 14, "projection_dim": 1280,
    },
}  # fmt: skip


@dataclass(frozen=True)
class EncoderSize:
    """Numbers of an embedding, and the parameters and operations that it takes."""

    width: int
    n_parameters: int
    flops: float  # of one image


@lru_cache(maxsize=8)
def encoder_size(name: str) -> EncoderSize:
    """Size the CLIP image encoder of a folder, of a hub name, or of ``"phantom"``.

    Nothing is fetched: a published encoder that is not on this machine has its published size.
    Raises UserError for one that is not known, and for a model that is no CLIP.
    """
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    settings = _vision_settings(name)
    try:
        config = CLIPVisionConfig(**settings)
        with torch.device("meta"):
            model = CLIPVisionModelWithProjection(config)
        pixels = torch.zeros(1, 3, config.image_size, config.image_size, device="meta")
        flops = count_flops(model, pixels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"The configuration of the image encoder {name!r} makes no CLIP ({error}). Fetch or "
            "save the model again."
        ) from error
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return EncoderSize(int(config.projection_dim), n_parameters, flops)


def _vision_settings(name: str) -> dict[str, Any]:
    """Return the arguments of the configuration of a CLIP image encoder."""
    try:
        folder = find_folder(name)
    except NetworkUnavailableError:
        for published, sizes in _PUBLISHED.items():
            if name.rpartition("/")[2].startswith(published):
                return dict(sizes)
        raise
    settings = read_settings(folder / "config.json")
    kind = settings.get("model_type")
    if kind not in ("clip", "clip_vision_model"):
        raise UserError(
            f"{folder / 'config.json'} describes a model of type {kind!r}, and the embedding of an "
            "image is that of a CLIP model: give the folder of one, with its projection."
        )
    if kind == "clip":
        settings = {**settings["vision_config"], "projection_dim": settings["projection_dim"]}
    return {key: value for key, value in settings.items() if not key.startswith("_")}
