"""Networks that look at pictures, each behind one call: pictures to features."""

import importlib.resources
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.compute import resolve_device
from vox2pix.errors import UserError
from vox2pix.evaluation.pictures import check_pictures, resize_pictures
from vox2pix.store import file_hash

Encoder = Callable[[ArrayLike], NDArray[np.float32]]
"""Pictures, float in [0, 1], shape (n, height, width, 3), to features, shape (n, d)."""

PHANTOM = "phantom"
PIXELS = "pixels"

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_HUB_FILES = (
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)


def image_encoder(name: str | Path, device: str = "auto", batch_size: int = 64) -> Encoder:
    """Return an encoder of pictures by its name.

    Parameters
    ----------
    name : str or Path
        ``"phantom"``: the image embedding of the phantom's own contrastive encoders (64 pixels,
        scaled to [-1, 1]), which ship with the package and know its scenes only.
        ``"pixels"``: the picture itself, flat; needs no network and equal sizes.
        A folder: the image embedding of a transformers CLIP model (Radford et al. 2021) at its
        own size, less the mean over the standard deviation of its ``preprocessor_config.json``,
        or scaled to [-1, 1] where there is none.
        A name on the Hugging Face Hub, ``"owner/model"``: such a folder, from the cache of this
        machine or else fetched into it.
    device : str
        Where the network runs, as :func:`vox2pix.compute.resolve_device` takes it.
    batch_size : int
        Pictures a pass. Features differ between batch sizes by rounding only (about 1e-6).

    Returns
    -------
    callable
        Pictures (n, height, width, 3), RGB in [0, 1], of any size, to float32 features (n, d).

    Raises
    ------
    UserError
        For an unknown name, a model that the hub does not give, or a folder that does not hold a
        whole CLIP model as safetensors.
    """
    if batch_size < 1:
        raise ValueError(f"A batch holds at least one picture, not {batch_size}.")
    if name == PIXELS:
        return _flat
    return ClipEncoder(_find(name), device, batch_size)


def encoder_hashes(name: str | Path) -> dict[str, str]:
    """Return the SHA-256 of the files that an encoder is read from, by their names.

    Parameters
    ----------
    name : str or Path
        As for :func:`image_encoder`; nothing is loaded.
    """
    if name == PIXELS:
        return {}
    files = [p for p in sorted(_find(name).iterdir()) if p.suffix in (".json", ".safetensors")]
    return {path.name: file_hash(path) for path in files}


def _find(name: str | Path) -> Path:
    """Return the folder of an encoder, fetched from the hub if need be."""
    if name == PHANTOM:
        package = Path(str(importlib.resources.files("vox2pix")))
        folder = package / "phantom" / "model" / "encoders"
        if not folder.is_dir():
            raise UserError(
                f"the phantom's encoders are not in the package (no folder {folder}); "
                "reinstall vox2pix, or train them with: python -m vox2pix.phantom.train"
            )
    else:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            if isinstance(name, Path) or not _HUB_NAME.fullmatch(name):
                raise UserError(
                    f"there is no image encoder {str(name)!r}; give {PHANTOM!r}, {PIXELS!r}, a "
                    "folder that holds a transformers CLIP model, or the Hugging Face name of "
                    "one such as 'openai/clip-vit-large-patch14'"
                )
            folder = _from_hub(name)
    return folder


class ClipEncoder:
    """The image embedding of a CLIP model that lies in a folder.

    Parameters
    ----------
    folder : Path
        With ``config.json``, ``model.safetensors`` and perhaps ``preprocessor_config.json``.
    device : str
        Where it runs, in float32.
    batch_size : int
        Pictures a pass.

    Attributes
    ----------
    size : int
        Height and width that pictures are brought to (bicubic, as CLIP does), in pixels.
    mean, std : ndarray of float32, shape (3,)
        A picture goes in as (picture - mean) / std.

    Raises
    ------
    UserError
        If the folder does not hold a whole CLIP model.
    """

    def __init__(self, folder: Path, device: str = "auto", batch_size: int = 64) -> None:
        self._device = resolve_device(device)
        self._model = _load_clip(folder).to(self._device)
        self.batch_size = batch_size
        self.size = int(self._model.config.vision_config.image_size)
        self.mean, self.std = _normalisation(folder)

    def __call__(self, pictures: ArrayLike) -> NDArray[np.float32]:
        """Return the image embeddings of pictures.

        Parameters
        ----------
        pictures : array_like of float, shape (n, height, width, 3)
            RGB in [0, 1].

        Returns
        -------
        ndarray of float32, shape (n, d)
        """
        import torch

        array = check_pictures(pictures)
        features = []
        for start in range(0, len(array), self.batch_size):
            batch = resize_pictures(array[start : start + self.batch_size], self.size, "bicubic")
            scaled = ((batch - self.mean) / self.std).transpose(0, 3, 1, 2)
            pixels = torch.from_numpy(np.ascontiguousarray(scaled)).to(self._device)
            with torch.inference_mode():
                seen = self._model.vision_model(pixel_values=pixels).pooler_output
                features.append(self._model.visual_projection(seen).cpu().numpy())
        return np.concatenate(features)


def _flat(pictures: ArrayLike) -> NDArray[np.float32]:
    """Return pictures as rows of numbers."""
    array = check_pictures(pictures)
    return array.reshape(len(array), -1)


def _from_hub(name: str) -> Path:
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
    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except Exception as error:  # the client lets errors of several libraries through
        raise UserError(
            f"cannot get the image encoder {name!r} from the Hugging Face Hub "
            f"({_first_line(error)}); check the name and the network, or give a local folder that "
            "holds a copy of the model"
        ) from error


def _load_clip(folder: Path) -> Any:
    """Load a CLIP model in float32 from safetensors, refusing one that is not whole."""
    import torch
    from safetensors import SafetensorError
    from transformers import CLIPModel

    kind = _read_json(folder / "config.json").get("model_type")
    if kind != "clip":
        raise UserError(
            f"{folder / 'config.json'} describes a model of type {kind!r}, and vox2pix reads "
            "'clip'; give the folder of a transformers CLIP model"
        )
    try:
        loaded: Any = CLIPModel.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"cannot read the CLIP model in {folder} ({_first_line(error)}); save it again with "
            "save_pretrained(..., safe_serialization=True)"
        ) from error
    model, info = loaded
    # transformers only warns of missing weights, and goes on with random numbers.
    missing = sorted(key for key in info["missing_keys"] if key.startswith("vis"))
    if missing:
        raise UserError(
            f"the CLIP model in {folder} lacks {len(missing)} tensors of its image encoder (the "
            f"first is {missing[0]}); fetch or save it again"
        )
    return model.eval()


def _normalisation(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the standard deviation that a model's pictures are scaled by."""
    path = folder / "preprocessor_config.json"
    settings = _read_json(path) if path.is_file() else {}
    if not settings.get("do_normalize", True):
        return np.zeros(3, np.float32), np.ones(3, np.float32)
    values = []
    for key in ("image_mean", "image_std"):
        value = settings.get(key, [0.5, 0.5, 0.5])
        if not isinstance(value, list) or len(value) != 3:
            raise UserError(f"{path}: {key} is {value!r}, and must be a list of three numbers")
        values.append(np.array(value, np.float32))
    return values[0], values[1]


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path} ({_first_line(error)}); give the folder of a transformers CLIP "
            "model"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object; fetch or save the model again")
    return content


def _first_line(error: Exception) -> str:
    """Return the first line of an error's text, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")
