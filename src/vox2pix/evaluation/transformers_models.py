"""Vision models in the layout of transformers: a folder, or a name on the Hugging Face Hub."""

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.errors import UserError
from vox2pix.evaluation.weights import NetworkUnavailableError, published

PHANTOM = "phantom"

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_HUB_FILES = (
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)


def find_folder(name: str | Path, weights: Path | None = None, download: bool = False) -> Path:
    """Return the folder of a vision model.

    Parameters
    ----------
    name : str or Path
        ``"phantom"``, the phantom's own encoders, which ship with the package; a folder; the
        name of a folder in ``weights``; or a name on the Hugging Face Hub, ``"owner/model"``,
        which may lie in this machine's cache.
    weights : Path, optional
        Where the user keeps weights.
    download : bool
        Fetch from the hub what is nowhere else.

    Raises
    ------
    NetworkUnavailableError
        If the model is not on this machine and shall not be downloaded.
    UserError
        For an unknown name, or a model that the hub does not give.
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
            f"there is no image encoder {str(name)!r}; give {PHANTOM!r}, 'pixels', a folder that "
            "holds a transformers vision model, the Hugging Face name of one such as "
            "'openai/clip-vit-large-patch14', or a network of the protocols such as "
            "'alexnet:features.4@224'"
        )
    return _from_hub(hub_name, download)


def load(folder: Path) -> Any:
    """Return the vision model of a folder in float32, refusing one that is not whole.

    Of a CLIP model (Radford et al. 2021) the image encoder with its projection; of other models
    that see and read, the part that sees.

    Parameters
    ----------
    folder : Path
        With ``config.json`` and ``model.safetensors``.

    Raises
    ------
    UserError
        If the folder does not hold a whole vision model as safetensors.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel, CLIPVisionModelWithProjection

    class ClipImageEncoder(CLIPVisionModelWithProjection):
        _keys_to_ignore_on_load_unexpected = ("text_", "logit_scale")

    kind = read_settings(folder / "config.json").get("model_type")
    clip = kind in ("clip", "clip_vision_model")
    family: Any = ClipImageEncoder if clip else AutoModel
    try:
        model, info = family.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"cannot read the model in {folder} ({first_line(error)}); save it again with "
            "save_pretrained(..., safe_serialization=True)"
        ) from error
    # transformers only warns of missing weights, and goes on with random numbers.
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"the model in {folder} lacks {len(missing)} tensors of its image encoder (the first "
            f"is {missing[0]}); fetch or save it again"
        )
    model = getattr(model, "vision_model", model) if not clip else model
    if model.main_input_name != "pixel_values":
        raise UserError(
            f"{folder / 'config.json'} describes a model of type {kind!r}, which does not look at "
            "pictures; give the folder of a transformers vision model"
        )
    return model.eval()


def normalisation(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the standard deviation that a model's pictures are scaled by.

    Returns
    -------
    mean, std : ndarray of float32, shape (3,)
        Those of ``preprocessor_config.json``; 0.5 and 0.5, that is [-1, 1], where it is silent.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = folder / "preprocessor_config.json"
    settings = read_settings(path) if path.is_file() else {}
    if not settings.get("do_normalize", True):
        return np.zeros(3, np.float32), np.ones(3, np.float32)
    values = []
    for key in ("image_mean", "image_std"):
        value = settings.get(key, [0.5, 0.5, 0.5])
        if not isinstance(value, list) or len(value) != 3:
            raise UserError(f"{path}: {key} is {value!r}, and must be a list of three numbers")
        values.append(np.array(value, np.float32))
    return values[0], values[1]


def read_settings(path: Path) -> dict[str, Any]:
    """Return a JSON object from a model's folder.

    Raises
    ------
    UserError
        If it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path} ({first_line(error)}); give the folder of a transformers vision "
            "model"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object; fetch or save the model again")
    return content


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")


def _phantom() -> Path:
    """Return the folder of the phantom's encoders."""
    folder = Path(str(importlib.resources.files("vox2pix"))) / "phantom" / "model" / "encoders"
    if not folder.is_dir():
        raise UserError(
            f"the phantom's encoders are not in the package (no folder {folder}); "
            "reinstall vox2pix, or train them with: python -m vox2pix.phantom.train"
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
        if (cached / "config.json").is_file() and any(cached.glob("model*.safetensors")):
            return cached
    except LocalEntryNotFoundError:
        pass
    if not download:
        row = published(name.split("/")[-1])
        size = f" ({row.megabytes:,} MB)" if row else ""
        raise NetworkUnavailableError(
            f"the model {name} is not here; put its folder {name.split('/')[-1]} into the one "
            f"that --weights names, or allow --download{size}"
        )
    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except Exception as error:  # the client lets errors of several libraries through
        raise UserError(
            f"cannot get the image encoder {name!r} from the Hugging Face Hub "
            f"({first_line(error)}); check the name and the network, or give a local folder that "
            "holds a copy of the model"
        ) from error
