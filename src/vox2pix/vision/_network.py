"""Networks that look at images, each behind one call: images to features."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.compute import resolve_device
from vox2pix.errors import UserError
from vox2pix.store import file_hash
from vox2pix.vision import torchvision_models, transformers_models
from vox2pix.vision.image_processors import read_processor
from vox2pix.vision.images import Images, Resizing, check_images
from vox2pix.vision.weights import find_file, published

Encoder = Callable[[ArrayLike], NDArray[np.float32]]
"""Images, float in [0, 1], shape (n, height, width, 3), to features, shape (n, d)."""

PIXELS = "pixels"
EDGES = "edges"

_NAME = re.compile(r"(?P<model>.+?)(?::(?P<layer>[\w.]+))?(?:@(?P<size>[1-9]\d*))?")


@dataclass(frozen=True)
class NetworkName:
    """A network, the layer that is read (None: its last), the size in pixels (None: its own)."""

    model: str | Path
    layer: str | None = None
    size: int | None = None


def parse_name(name: str | Path) -> NetworkName:
    """Split ``MODEL:LAYER@SIZE``; layer and size may be left out, a folder is a model."""
    if isinstance(name, Path) or Path(name).expanduser().is_dir():
        return NetworkName(Path(name))
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError("A network's name is empty. Give one such as 'alexnet:features.4@224'.")
    size = match["size"]
    return NetworkName(match["model"], match["layer"], int(size) if size else None)


class Network:
    """One layer of one network: images in, features out, in float32.

    ``layer`` is the name of a module, whose output is read, or of an output of a transformers
    model, with its number where it is one of many: ``image_embeds``, ``hidden_states.6``. Images
    are brought to ``size`` pixels by ``resizing`` and go in as (image - mean) / std. Features
    differ between batch sizes by rounding only (about 1e-6).
    """

    def __init__(
        self,
        model: Any,
        layer: str,
        size: int,
        mean: ArrayLike,
        std: ArrayLike,
        resizing: Resizing,
        device: str = "auto",
        batch_size: int = 64,
    ) -> None:
        self._device = resolve_device(device)
        self._model = model.to(self._device)
        self._read = _reader(self._model, layer)
        self.size, self.resizing, self.batch_size = size, resizing, batch_size
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        try:
            self._features(np.zeros((1, size, size, 3), np.float32))
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            reason = transformers_models.first_line(error)
            raise UserError(
                f"{type(model).__name__} gives no features of layer {layer!r} at {size} pixels "
                f"({reason}). Check the layer and the size."
            ) from error

    def __call__(self, images: ArrayLike) -> NDArray[np.float32]:
        """Return the features (n, d) of images (n, height, width, 3), RGB in [0, 1]."""
        array = check_images(images)
        starts = range(0, len(array), self.batch_size)
        return np.concatenate([self._features(array[i : i + self.batch_size]) for i in starts])

    def _features(self, images: Images) -> NDArray[np.float32]:
        """Return the features of one batch."""
        import torch

        scaled = (self.resizing(images, self.size) - self.mean) / self.std
        pixels = torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            seen = self._read(pixels.to(self._device))
            return seen.reshape(len(images), -1).float().cpu().numpy()


def network(
    name: str | Path,
    *,
    weights: Path | None = None,
    download: bool = False,
    resizing: Resizing | None = None,
    device: str = "auto",
    batch_size: int = 64,
    loaded: dict[str | Path, Any] | None = None,
) -> Encoder:
    """Return a network by its name, ``MODEL:LAYER@SIZE``.

    Parameters
    ----------
    name : str or Path
        One of the published protocols (:data:`~vox2pix.evaluation.WEIGHTS`): torchvision's, which
        need layer and size and scale images by ImageNet's mean and standard deviation, or
        ``clip-vit-large-patch14``. ``phantom``: the encoders that ship with the package, for the
        phantom's scenes only. A folder or a Hugging Face name: any vision model of transformers,
        with the image settings that are saved beside it. ``pixels``: the image itself, ``edges``:
        the length of the luma's Sobel gradient at each pixel.
    weights : Path, optional
        A folder of weights.
    download : bool
        Fetch weights that are not on this machine.
    resizing : Resizing, optional
        How images are brought to the size. If None: as a transformers model's own settings say,
        bilinear with antialiasing for the others.
    device : str
        Where the network runs, as :func:`vox2pix.compute.resolve_device` takes it.
    batch_size : int
        Images per pass. Features differ between batch sizes by rounding only (about 1e-6).
    loaded : dict, optional
        Models of earlier calls, for another layer or size of them; a new one is added.

    Returns
    -------
    callable
        Images (n, height, width, 3), RGB in [0, 1], of any size, to float32 features (n, d).

    Raises
    ------
    NetworkUnavailableError
        If torchvision or the weights are not here.
    UserError
        For an unknown name, layer or size, or weights that are damaged.
    """
    if batch_size < 1:
        raise ValueError(f"A batch holds at least one image, not {batch_size}.")
    loaded, asked = {} if loaded is None else loaded, parse_name(name)
    if str(asked.model) in _PLAIN:
        return _plain(_PLAIN[str(asked.model)], asked.size, resizing or Resizing())
    if str(asked.model) in torchvision_models.NAMES:
        parts = _torchvision_parts(asked, weights, download, loaded)
        resizing = resizing or Resizing()
    else:
        parts = _transformers_parts(asked, weights, download, loaded)
        own_resizing = parts.pop("resizing")
        resizing = resizing or own_resizing
    return Network(**parts, resizing=resizing, device=device, batch_size=batch_size)


def _torchvision_parts(
    asked: NetworkName, weights: Path | None, download: bool, loaded: dict[str | Path, Any]
) -> dict[str, Any]:
    """Return the arguments of :class:`Network` for a network of torchvision."""
    name = str(asked.model)
    if asked.layer is None or asked.size is None:
        raise UserError(
            f"The network {name!r} lacks its layer or its size. Name both, such as "
            f"'{name}:avgpool@224'."
        )
    if name not in loaded:
        torchvision_models.build(name)  # fails first if torchvision is absent
        loaded[name] = torchvision_models.load(name, _files(asked, weights, download)[0])
    return {
        "model": loaded[name],
        "layer": asked.layer,
        "size": asked.size,
        "mean": torchvision_models.IMAGENET_MEAN,
        "std": torchvision_models.IMAGENET_STD,
    }


def _transformers_parts(
    asked: NetworkName, weights: Path | None, download: bool, loaded: dict[str | Path, Any]
) -> dict[str, Any]:
    """Return the arguments of :class:`Network` for a vision model of transformers."""
    folder = transformers_models.find_folder(asked.model, weights, download)
    if asked.model not in loaded:
        loaded[asked.model] = transformers_models.load(folder)
    model = loaded[asked.model]
    projects = hasattr(model, "visual_projection")
    layer = asked.layer or ("image_embeds" if projects else "pooler_output")
    processor = read_processor(folder)
    size = asked.size or processor.size or _own_size(model, folder)
    return {
        "model": model,
        "layer": layer,
        "size": size,
        "mean": processor.mean,
        "std": processor.std,
        "resizing": processor.resizing_to(size),
    }


def image_encoder(name: str | Path, device: str = "auto", batch_size: int = 64) -> Encoder:
    """Return the :func:`network` that an experiment file names, downloading it if needed."""
    return network(name, download=True, device=device, batch_size=batch_size)


def encoder_hashes(
    name: str | Path, weights: Path | None = None, download: bool = True
) -> dict[str, str]:
    """Return the SHA-256 of the files that a network is read from, by their names."""
    files = encoder_files(name, weights, download)
    return {name: file_hash(path) for name, path in files.items()}


def encoder_files(
    name: str | Path, weights: Path | None = None, download: bool = True
) -> dict[str, Path]:
    """Return the files that a network is read from, by their names; nothing is loaded."""
    asked = parse_name(name)
    if asked.model in _PLAIN:
        return {}
    return {path.name: path for path in _files(asked, weights, download)}


def weights_digest(hashes: Mapping[str, str]) -> str:
    """Return a digest of the files of a network, for the definition of a metric."""
    if not hashes:
        return ""
    text = "".join(f"{name} {value}\n" for name, value in sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _files(asked: NetworkName, weights: Path | None, download: bool) -> list[Path]:
    """Return the files that a network is read from."""
    row = published(str(asked.model))
    if row and row.network in torchvision_models.NAMES:
        return [find_file(row, weights, download)]
    folder = transformers_models.find_folder(asked.model, weights, download)
    return [p for p in sorted(folder.iterdir()) if p.suffix in (".json", ".safetensors")]


def _own_size(model: Any, folder: Path) -> int:
    """Return the size that a transformers model was made for."""
    size = getattr(model.config, "image_size", None)
    if not isinstance(size, int):
        raise UserError(
            f"The model in {folder} names no image size. Name one, such as '{folder.name}@224'."
        )
    return size


def _reader(model: Any, layer: str) -> Callable[[Any], Any]:
    """Return a function from a model's input to the values of a layer."""
    modules = dict(model.named_modules())
    if layer in modules:
        return lambda pixels: _module_output(model, modules[layer], pixels)
    name, _, number = layer.partition(".")

    def output(pixels: Any) -> Any:
        values = getattr(model(pixels, output_hidden_states=True), name)
        return values[int(number)] if number else values

    return output


def _module_output(model: Any, module: Any, pixels: Any) -> Any:
    """Return what a module puts out while the model looks at images."""
    seen: list[Any] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        seen.append(tensor.clone())  # the next module may write over it

    handle = module.register_forward_hook(keep)
    try:
        model(pixels)
    finally:
        handle.remove()
    return seen[-1]


def _plain(
    features: Callable[[Images], NDArray[np.float32]], size: int | None, resizing: Resizing
) -> Encoder:
    """Return an encoder that needs no network."""

    def encode(images: ArrayLike) -> NDArray[np.float32]:
        array = check_images(images)
        if size is not None:
            array = resizing(array, size)
        return features(array).reshape(len(array), -1)

    return encode


def _edges(images: Images) -> NDArray[np.float32]:
    """Return the length of the luma's gradient at each pixel."""
    from skimage.color import rgb2gray
    from skimage.filters import sobel

    return np.stack([sobel(rgb2gray(image)) for image in images]).astype(np.float32)


_PLAIN: dict[str, Callable[[Images], NDArray[np.float32]]] = {PIXELS: lambda p: p, EDGES: _edges}
