"""z and c of stimuli: batched, kept under the content they come from, resumable."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vox2pix.config import digest
from vox2pix.data import Subject
from vox2pix.diffusion.batches import BatchSize
from vox2pix.seeds import seed_for
from vox2pix.store import KeyedRows
from vox2pix.targets.stored import StoredFeatures

FloatArray = NDArray[np.float32]
ROWS_A_FILE = 250


class FeatureModel(Protocol):
    """What of a :class:`~vox2pix.diffusion.LatentDiffusion` is asked for z and c.

    Attributes
    ----------
    identity, dtype, image_size, encode_images, embed_captions
        As there.
    """

    identity: dict[str, Any]

    @property
    def dtype(self) -> Any:
        """Precision of the networks."""

    @property
    def image_size(self) -> int:
        """Side of its images in pixels."""

    def encode_images(
        self, images: FloatArray, seeds: Sequence[int] | None, batch_size: BatchSize
    ) -> FloatArray:
        """Return z (n, channels, height, width) of images (n, height, width, 3) in [0, 1]."""

    def embed_captions(
        self, captions: Sequence[Sequence[str]], batch_size: BatchSize
    ) -> FloatArray:
        """Return c (n, n_tokens, width), a mean over each image's captions."""


class FeatureRows:
    """One kind of features of stimuli, each row kept under the content that it comes from.

    Parameters
    ----------
    folder : Path
        Where rows lie.
    read : callable
        ``read(stimulus_ids)``, their contents: images or captions.
    key : callable
        ``key(stimulus_id, content)``, what a row is kept under.
    compute : callable
        ``compute(stimulus_ids, contents)``, the rows.
    """

    def __init__(
        self,
        folder: Path,
        read: Callable[[Sequence[str]], Any],
        key: Callable[[str, Any], str],
        compute: Callable[[Sequence[str], Any], FloatArray],
    ) -> None:
        self._rows = KeyedRows(folder)
        self._read, self._key, self._compute = read, key, compute
        self._keys: dict[str, str] = {}

    def unknown(self, stimulus_ids: Sequence[str]) -> list[str]:
        """List the stimuli whose keys are not known yet, each once."""
        return [i for i in dict.fromkeys(stimulus_ids) if i not in self._keys]

    def keys(self, stimulus_ids: Sequence[str]) -> dict[str, str]:
        """Return the key of each stimulus; contents are read where it is not known."""
        for ids in blocks(self.unknown(stimulus_ids)):
            contents = self._read(ids)
            self._keys |= {i: self._key(i, c) for i, c in zip(ids, contents, strict=True)}
        return {i: self._keys[i] for i in stimulus_ids}

    def learn(self, keys: Mapping[str, str]) -> None:
        """Take keys that were found before."""
        self._keys |= keys

    def absent(self, stimulus_ids: Sequence[str], check: bool = False) -> list[str]:
        """List one stimulus, the first, for each content that has no row.

        Parameters
        ----------
        stimulus_ids : sequence of str
            What is looked for.
        check : bool
            Read the rows too: those that are damaged count as absent.
        """
        keys = self.keys(stimulus_ids)
        missing = set(self._rows.missing(list(keys.values()), check))
        first = {key: i for i, key in reversed(keys.items()) if key in missing}
        return [i for i, key in keys.items() if first.get(key) == i]

    def compute(self, stimulus_ids: Sequence[str]) -> None:
        """Compute and write the rows of stimuli, if one of them is absent."""
        keys = list(self.keys(stimulus_ids).values())
        if self._rows.missing(keys):
            self._rows.add(keys, self._compute(stimulus_ids, self._read(stimulus_ids)))

    def files(self, stimulus_ids: Sequence[str]) -> list[Path]:
        """List the files that hold the rows of stimuli."""
        return self._rows.files(list(self.keys(stimulus_ids).values()))

    def stored(self, stimulus_ids: Sequence[str]) -> StoredFeatures:
        """Return the rows of stimuli as they lie there; absent ones are computed first."""
        for ids in blocks(self.absent(stimulus_ids)):
            self.compute(ids)
        keys = self.keys(stimulus_ids)
        return StoredFeatures(self._rows, [keys[i] for i in stimulus_ids])

    def load(self, stimulus_ids: Sequence[str]) -> FloatArray:
        """Return the rows of stimuli; those that are absent are computed first."""
        return self.stored(stimulus_ids).read()


def blocks(stimulus_ids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield so many stimuli as share a file."""
    for start in range(0, len(stimulus_ids), ROWS_A_FILE):
        yield tuple(stimulus_ids[start : start + ROWS_A_FILE])


def latent_rows(
    model: FeatureModel,
    subject: Subject,
    cache: Path,
    *,
    image_size: int | None = None,
    posterior: str = "mode",
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> FeatureRows:
    """Return z of a subject's stimuli: the autoencoder's scaled latents of their images.

    What is in the cache is read, the rest computed and added. A row's key is the hash of the
    image's own bytes, so that no two data sets can be mistaken for each other and subjects who
    saw the same image share its row.

    Parameters
    ----------
    model : FeatureModel
        Whose latents.
    subject : Subject
        Who has the images.
    cache : Path
        Root of the feature cache.
    image_size : int, optional
        Height and width in pixels at which images are encoded; the model's own if absent.
    posterior : {"mode", "sample"}
        The mode of the posterior, or one draw a stimulus, seeded by ``seed``.
    seed : int
        The run's seed; matters for draws only.
    batch_size : int or "auto"
        Images encoded at once.
    """
    size = image_size or model.image_size

    def read(ids: Sequence[str]) -> FloatArray:
        return subject.images(ids, size=size)

    def key(stimulus_id: str, image: FloatArray) -> str:
        # A draw belongs to the stimulus, not to the image alone.
        return _key(image.tobytes(), stimulus_id if posterior == "sample" else "")

    def compute(ids: Sequence[str], images: FloatArray) -> FloatArray:
        seeds = [seed_for(seed, "posterior", i) for i in ids] if posterior == "sample" else None
        return model.encode_images(images, seeds=seeds, batch_size=batch_size)

    folder = latent_folder(model, cache, image_size, posterior, seed)
    return FeatureRows(folder, read, key, compute)


def conditioning_rows(
    model: FeatureModel, subject: Subject, cache: Path, *, batch_size: BatchSize = "auto"
) -> FeatureRows:
    """Return c of a subject's stimuli, averaged over their captions.

    c of a caption is the text encoder's last hidden states.

    Parameters
    ----------
    model, subject, cache, batch_size
        As for :func:`latent_rows`.
    """

    def key(stimulus_id: str, captions: tuple[str, ...]) -> str:
        return _key("\x1f".join(captions).encode())

    def compute(ids: Sequence[str], captions: list[tuple[str, ...]]) -> FloatArray:
        return model.embed_captions(captions, batch_size=batch_size)

    return FeatureRows(conditioning_folder(model, cache), subject.captions, key, compute)


def latent_folder(
    model: FeatureModel, cache: Path, image_size: int | None, posterior: str, seed: int
) -> Path:
    """Return where in the cache :func:`latent_rows` keeps its rows; parameters as there."""
    settings = {
        "z": model.identity,
        "dtype": str(model.dtype),
        "size": image_size or model.image_size,
        "posterior": posterior,
    }
    if posterior == "sample":
        settings["seed"] = seed
    return cache / f"z-{digest(settings)}"


def conditioning_folder(model: FeatureModel, cache: Path) -> Path:
    """Return where in the cache :func:`conditioning_rows` keeps its rows."""
    return cache / f"c-{digest({'c': model.identity, 'dtype': str(model.dtype)})}"


def _key(content: bytes, name: str = "") -> str:
    state = hashlib.blake2b(content, digest_size=16)
    state.update(name.encode())
    return state.hexdigest()
