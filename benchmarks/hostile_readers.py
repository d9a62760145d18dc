"""Read what a hostile folder holds, by the reader that its case names."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hostile_cases import SECRET


def read(reader: str, path: Path) -> str:
    """Read an input as the commands do; return ``"secret"`` if a byte of the secret came back."""
    seen = b"".join(_bytes(part) for part in _READERS[reader](path))
    return "secret" if SECRET[:16] in seen else "read"


def _bytes(part: Any) -> bytes:
    return part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode()


def _own(path: Path) -> Iterator[Any]:
    from vox2pix.data import open_folder

    subject = open_folder(path / "own")
    # as stored: betas() turns bytes into float32
    source = subject.betas_source.parts[subject.sessions[0]].array
    yield source.read(slice(0, 6), np.arange(4))
    yield from subject.stimulus_source.iter_pictures(["a"])
    yield subject.stimulus_source.captions(["a"])


def _images(path: Path) -> Iterator[Any]:
    from vox2pix.evaluation.inputs import open_images

    images = open_images(next(p for p in path.iterdir() if p.name.startswith("images")))
    yield images.ids
    yield images.raw(0, 0)


def _volume(path: Path) -> Iterator[Any]:
    from vox2pix.data.volumes import load_image

    yield load_image(next(p for p in path.iterdir() if p.name.startswith("volume"))).values


def _matlab(path: Path) -> Iterator[Any]:
    from vox2pix.untrusted.matlab import read_matlab

    yield read_matlab(path / "design.mat", ["masterordering"])


def _weights(path: Path) -> Iterator[Any]:
    from vox2pix.vision.torchvision_models import _read_state

    yield dict(_read_state(next(p for p in path.iterdir() if p.name.startswith("weights"))))


def _model(path: Path) -> Iterator[Any]:
    from vox2pix.untrusted.models import check_model_folder

    check_model_folder(path / "model", "model", ("vocab.json",))
    yield "a model"


def _vision(path: Path) -> Iterator[Any]:
    from vox2pix.vision.transformers_models import load

    yield load(path / "model").config


def _config(path: Path) -> Iterator[Any]:
    from vox2pix.config import load_config

    yield load_config(path / "experiment.toml")


def _captions(path: Path) -> Iterator[Any]:
    from vox2pix.evaluation.captions import read_captions

    yield read_captions(next(p for p in path.iterdir() if p.name.startswith("captions")))


def _json(path: Path) -> Iterator[Any]:
    from vox2pix.untrusted.text import read_json

    yield read_json(path / "input.json", 2**20, unique=True)


def _labels(path: Path) -> Iterator[Any]:
    from vox2pix.data.rois import read_labels

    yield read_labels(path / "labels.ctab")


def _imports(path: Path) -> Iterator[Any]:
    """Import what takes long, which is no case's own."""
    import torch
    import transformers

    yield transformers.AutoModel, transformers.CLIPVisionModelWithProjection, torch.zeros(1)


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "imports": _imports,
    "own": _own,
    "images": _images,
    "volume": _volume,
    "matlab": _matlab,
    "weights": _weights,
    "model": _model,
    "vision": _vision,
    "config": _config,
    "captions": _captions,
    "json": _json,
    "labels": _labels,
}
