"""z and c of stimuli: batched, kept under the content they come from, resumable."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import digest
from vox2pix.data import Subject
from vox2pix.diffusion import LatentDiffusion
from vox2pix.seeds import seed_for
from vox2pix.store import KeyedRows

Progress = Callable[[int], None]
FloatArray = NDArray[np.float32]
_ROWS_A_FILE = 250


def latent_features(
    model: LatentDiffusion,
    subject: Subject,
    stimulus_ids: Sequence[str],
    cache: Path,
    *,
    picture_size: int | None = None,
    posterior: str = "mode",
    seed: int = 0,
    batch_size: int = 16,
    progress: Progress = lambda done: None,
) -> FloatArray:
    """Return z of stimuli: the autoencoder's scaled latents of their pictures.

    What is in the cache is read, the rest computed and added. A row's key is the hash of the
    picture's own bytes, so that no two data sets can be mistaken for each other and subjects who
    saw the same picture share its row.

    Parameters
    ----------
    model : LatentDiffusion
        Whose latents.
    subject : Subject
        Who has the pictures.
    stimulus_ids : sequence of str
        Which stimuli.
    cache : Path
        Root of the feature cache.
    picture_size : int, optional
        Height and width in pixels at which pictures are encoded; the model's own if absent.
    posterior : {"mode", "sample"}
        The mode of the posterior, or one draw a stimulus, seeded by ``seed``.
    seed : int
        The run's seed; matters for draws only.
    batch_size : int
        Pictures encoded at once.
    progress : callable
        Called with the number of stimuli that became ready.

    Returns
    -------
    ndarray of float32, shape (n_stimuli, channels, height, width)
        In the order of ``stimulus_ids``.
    """
    size = picture_size or model.picture_size
    rows = KeyedRows(latent_folder(model, cache, picture_size, posterior, seed))

    def read(ids: Sequence[str]) -> FloatArray:
        return subject.pictures(ids, size=size)

    def key(stimulus_id: str, picture: FloatArray) -> str:
        # A draw belongs to the stimulus, not to the picture alone.
        return _key(picture.tobytes(), stimulus_id if posterior == "sample" else "")

    def compute(ids: Sequence[str], pictures: FloatArray) -> FloatArray:
        seeds = [seed_for(seed, "posterior", i) for i in ids] if posterior == "sample" else None
        return model.encode_pictures(pictures, seeds=seeds, batch_size=batch_size)

    return _ready(rows, stimulus_ids, read, key, compute, progress)


def conditioning_features(
    model: LatentDiffusion,
    subject: Subject,
    stimulus_ids: Sequence[str],
    cache: Path,
    *,
    batch_size: int = 16,
    progress: Progress = lambda done: None,
) -> FloatArray:
    """Return c of stimuli: the text encoder's last hidden states, averaged over their captions.

    Parameters
    ----------
    model, subject, stimulus_ids, cache, batch_size, progress
        As for :func:`latent_features`.

    Returns
    -------
    ndarray of float32, shape (n_stimuli, n_tokens, width)
        In the order of ``stimulus_ids``.

    Raises
    ------
    UserError
        If a stimulus has no caption.
    """
    rows = KeyedRows(conditioning_folder(model, cache))

    def key(stimulus_id: str, captions: tuple[str, ...]) -> str:
        return _key("\x1f".join(captions).encode())

    def compute(ids: Sequence[str], captions: list[tuple[str, ...]]) -> FloatArray:
        return model.embed_captions(captions, batch_size=batch_size)

    return _ready(rows, stimulus_ids, subject.captions, key, compute, progress)


def latent_folder(
    model: LatentDiffusion, cache: Path, picture_size: int | None, posterior: str, seed: int
) -> Path:
    """Return where in the cache :func:`latent_features` keeps its rows; parameters as there."""
    settings = {
        "z": model.identity,
        "dtype": str(model.dtype),
        "size": picture_size or model.picture_size,
        "posterior": posterior,
    }
    if posterior == "sample":
        settings["seed"] = seed
    return cache / f"z-{digest(settings)}"


def conditioning_folder(model: LatentDiffusion, cache: Path) -> Path:
    """Return where in the cache :func:`conditioning_features` keeps its rows."""
    return cache / f"c-{digest({'c': model.identity, 'dtype': str(model.dtype)})}"


def _ready(
    rows: KeyedRows,
    stimulus_ids: Sequence[str],
    read: Callable[[Sequence[str]], Any],
    key: Callable[[str, Any], str],
    compute: Callable[[Sequence[str], Any], FloatArray],
    progress: Progress,
) -> FloatArray:
    """Compute what is missing, block by block, and return all."""
    keys: list[str] = []
    for start in range(0, len(stimulus_ids), _ROWS_A_FILE):
        ids = stimulus_ids[start : start + _ROWS_A_FILE]
        contents = read(ids)
        block_keys = [key(i, content) for i, content in zip(ids, contents, strict=True)]
        absent = set(rows.missing(block_keys))
        first = {k: n for n, k in reversed(list(enumerate(block_keys))) if k in absent}
        if first:
            chosen = sorted(first.values())
            some = (
                contents[chosen]
                if isinstance(contents, np.ndarray)
                else [contents[n] for n in chosen]
            )
            rows.add([block_keys[n] for n in chosen], compute([ids[n] for n in chosen], some))
        keys += block_keys
        progress(len(ids))
    return rows.load(keys)


def _key(content: bytes, name: str = "") -> str:
    state = hashlib.blake2b(content, digest_size=16)
    state.update(name.encode())
    return state.hexdigest()
