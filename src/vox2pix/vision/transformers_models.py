"""Vision models in the layout of transformers: a folder, or a name on the Hugging Face Hub."""

import importlib.resources
import re
from pathlib import Path
from typing import Any

from vox2pix.errors import UserError
from vox2pix.untrusted.models import check_model_folder
from vox2pix.vision.image_processors import FILES, has_processor, read_settings
from vox2pix.vision.weights import NetworkUnavailableError, published

PHANTOM = "phantom"

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_HUB_FILES = (
    "config.json",
    *FILES,
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)


def find_folder(name: str | Path, weights: Path | None = None, download: bool = False) -> Path:
    """Return the folder of a vision model.

    ``name`` is ``"phantom"``, the phantom's own encoders, which ship with the package; a folder;
    the name of a folder in ``weights``; or ``"owner/model"`` on the Hugging Face Hub, from this
    machine's cache or, if allowed, downloaded.
    """
    if name == PHANTOM:
        return _phantom()
    in_weights = [weights / Path(name).name] if weights else []
    for folder in (Path(name).expanduser(), *in_weights):
        if folder.is_dir():
            return folder
    row = published(str(name))
    hub_name = "/".join(row.source.split("/")[-2:]) if row else name
    if isinstance(hub_name, Path) or not _HUB_NAME.fullmatch(hub_name):
        raise UserError(
            f"There is no image encoder {str(name)!r}. Give {PHANTOM!r}, 'pixels', a folder that "
            "holds a transformers vision model, the Hugging Face name of one such as "
            "'openai/clip-vit-large-patch14', or a network of the protocols such as "
            "'alexnet:features.4@224'."
        )
    return _from_hub(hub_name, download)


def load(folder: Path) -> Any:
    """Return the vision model of a folder in float32, refusing one that is not whole.

    Of a CLIP model (Radford et al. 2021) the image encoder with its projection; of other models
    that see and read, the part that sees.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel, CLIPVisionModelWithProjection

    class ClipImageEncoder(CLIPVisionModelWithProjection):
        _keys_to_ignore_on_load_unexpected = ("text_", "logit_scale")

    check_model_folder(folder, "model", FILES)
    kind = read_settings(folder / "config.json").get("model_type")
    clip = kind in ("clip", "clip_vision_model")
    family: Any = ClipImageEncoder if clip else AutoModel
    try:
        model, info = family.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"Cannot read the model in {folder} ({first_line(error)}). Save it again with "
            "save_pretrained(..., safe_serialization=True)."
        ) from error
    # transformers only warns of missing weights, and goes on with random numbers.
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"The model in {folder} lacks {len(missing)} tensors of its image encoder (the first "
            f"is {missing[0]}). Fetch or save it again."
        )
    model = getattr(model, "vision_model", model) if not clip else model
    if model.main_input_name != "pixel_values":
        raise UserError(
            f"{folder / 'config.json'} describes a model of type {kind!r}, which does not look at "
            "images. Give the folder of a transformers vision model."
        )
    return model.eval()


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")


def _phantom() -> Path:
    """Return the folder of the phantom's encoders."""
    folder = Path(str(importlib.resources.files("vox2pix"))) / "phantom" / "model" / "encoders"
    if not folder.is_dir():
        raise UserError(
            f"The phantom's encoders are missing from the package ({folder}). Reinstall vox2pix."
        )
    return folder


def _from_hub(name: str, download: bool) -> Path:
    """Return the folder of a model on the hub: this machine's cache, or else a fetched copy."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        cached = Path(
            snapshot_download(name, allow_patterns=list(_HUB_FILES), local_files_only=True)
        )
        # The cache may hold less than the whole model: what another program asked for.
        whole = (cached / "config.json").is_file() and any(cached.glob("model*.safetensors"))
        if whole and has_processor(cached):
            return cached
    except LocalEntryNotFoundError:
        pass
    if not download:
        row = published(name.split("/")[-1])
        size = f" ({row.megabytes:,} MB)" if row else ""
        raise NetworkUnavailableError(
            f"The model {name} is not here. Put its folder {name.split('/')[-1]} into the one "
            f"that --weights names, or allow --download{size}."
        )
    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except Exception as error:  # the client lets errors of several libraries through
        raise UserError(
            f"Cannot get the image encoder {name!r} from the Hugging Face Hub "
            f"({first_line(error)}). Check the name and the network, or give a local folder that "
            "holds a copy of the model."
        ) from error
