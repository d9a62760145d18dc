"""Read what a folder of sound or malformed inputs holds, by the reader that a case names."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np


def consume(reader: str, path: Path) -> str:
    """Read all that there is in an input, as the commands do; return a digest of it."""
    seen = hashlib.blake2b(digest_size=8)
    for part in _READERS[reader](path):
        if isinstance(part, np.ndarray):
            seen.update(f"{part.dtype}{part.shape}".encode())
            part = np.ascontiguousarray(part)
            seen.update(repr(part.tolist()).encode() if part.dtype == object else part.tobytes())
        else:
            seen.update(repr(part).encode())
    return seen.hexdigest()


def _subject(subject: Any) -> Iterator[Any]:
    """Yield all of a subject."""
    whole = subject.select(np.ones(len(subject.trials), bool))
    yield subject.trials.to_csv()
    yield subject.voxels.to_csv()
    yield whole.betas()
    yield subject.affine
    for stimulus_id in whole.stimulus_ids:
        yield from subject.stimulus_source.iter_pictures([stimulus_id])
    yield subject.captions(whole.stimulus_ids)


def _nsd(path: Path, space: str = "func1pt8mm") -> Iterator[Any]:
    from vox2pix.data import open_nsd

    return _subject(open_nsd(path, rois=["early", "ventral"], space=space))


def _own(path: Path) -> Iterator[Any]:
    from vox2pix.data import open_folder

    return _subject(open_folder(path))


def _images(path: Path) -> Iterator[Any]:
    from vox2pix.evaluation.inputs import open_images

    images = open_images(next(path.iterdir()))
    yield images.ids
    for row in range(len(images.ids)):
        for sample in range(images.n_samples):
            yield images.image(row, sample)


def _model(path: Path) -> Iterator[Any]:
    from vox2pix.diffusion import LatentDiffusion

    model = LatentDiffusion.from_pretrained(str(path), device="cpu")
    yield model.encode_images(np.full((1, 64, 64, 3), 0.3, np.float32))
    yield model.embed_captions([("a red ball",)])
    yield model.plan(0.8, 10).timesteps


def _config(path: Path) -> Iterator[Any]:
    from vox2pix.config import load_config

    yield load_config(path / "experiment.toml").model_dump(exclude={"data": {"path"}})


_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "nsd": _nsd,
    "surface": partial(_nsd, space="fsaverage5"),
    "own": _own,
    "images": _images,
    "model": _model,
    "config": _config,
}
