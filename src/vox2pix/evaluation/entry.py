"""From two paths and a protocol's name to numbers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vox2pix.config import without_place
from vox2pix.errors import UserError
from vox2pix.evaluation.captions import with_captions
from vox2pix.evaluation.inputs import open_images
from vox2pix.evaluation.protocols import Metric
from vox2pix.evaluation.protocols import protocol as find_protocol
from vox2pix.evaluation.scoring import Evaluation, Progress, score_collections
from vox2pix.vision import Encoder, encoder_hashes, network, weights_digest


def evaluate_images(
    truth: str | Path,
    reconstructions: str | Path,
    *,
    samples: str | None = None,
    truth_files: str | None = None,
    protocol: str = "default",
    networks: Sequence[str] = (),
    weights: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    captions: Path | None = None,
    references: Path | None = None,
    seed: int = 0,
    progress: Progress = lambda step, done, total: None,
) -> tuple[Evaluation, dict[str, Any]]:
    """Score one collection of images against another by a named protocol.

    Parameters
    ----------
    truth, reconstructions : str or Path
        As :func:`~vox2pix.evaluation.open_images` takes them.
    samples, truth_files : str, optional
        Patterns of the files on both sides, ``{id}_{sample}.png`` and ``{id}_org.png``. Originals
        that are in the folder of the reconstructions are left out of these.
    protocol : str
        A name in :data:`~vox2pix.evaluation.PROTOCOLS`.
    networks : sequence of str
        Networks to identify and retrieve by beside the protocol's own metrics.
    weights, download, device
        As :func:`~vox2pix.evaluation.network` takes them.
    captions, references : Path, optional
        Decoded captions of the same stimuli and those that people wrote: CSV files with the columns
        ``stimulus_id`` and ``caption``.

    Returns
    -------
    tuple of (Evaluation, dict)
        Scores and records; paths, settings and SHA-256 of the weights that they come from.
    """
    chosen = find_protocol(protocol)
    extra = [metric for name in dict.fromkeys(networks) for metric in _by_network(name)]
    chosen = replace(chosen, metrics=(*chosen.metrics, *extra))
    if (captions is None) != (references is None):
        raise UserError(
            "Captions are scored against references. Give both --captions and --references."
        )
    loader = _Loader(weights, download, device)
    one_folder = Path(truth).resolve() == Path(reconstructions).resolve()
    evaluation = score_collections(
        open_images(truth, originals=truth_files),
        open_images(reconstructions, samples, without=truth_files if one_folder else None),
        chosen,
        loader,
        weights=loader.digests,
        seed=seed,
        progress=progress,
    )
    if captions is not None and references is not None:
        evaluation = with_captions(evaluation, captions, references, seed)
    return evaluation, {
        "captions": str(captions) if captions else None,
        "references": str(references) if references else None,
        "truth": str(truth),
        "reconstructions": str(reconstructions),
        "samples": samples,
        "truth_files": truth_files,
        "seed": seed,
        "device": device,
        "weights": loader.hashes,
    }


class _Loader:
    """Loads the networks of metrics, each once, and records what they were read from."""

    def __init__(self, weights: str | Path | None, download: bool, device: str) -> None:
        self._folder = None if weights is None else Path(weights)
        if self._folder is not None and not self._folder.is_dir():
            raise UserError(f"{weights} is no folder. Name the one that holds the weights.")
        self._download, self._device = download, device
        self._loaded: dict[str | Path, Any] = {}
        self.hashes: dict[str, dict[str, str]] = {}
        self.digests: dict[str, str] = {}

    def __call__(self, metric: Metric) -> Encoder:
        name = str(metric.network)
        encoder = network(
            name,
            weights=self._folder,
            download=self._download,
            resizing=metric.resizing,
            device=self._device,
            loaded=self._loaded,
        )
        self.hashes[name] = encoder_hashes(name, self._folder, self._download)
        if self.hashes[name]:
            self.digests[name] = weights_digest(self.hashes[name])
        return encoder


def _by_network(name: str) -> tuple[Metric, ...]:
    """Return the metrics of a network beside the protocol's."""
    called = without_place(name)  # a folder's: tables are sent to others
    retrieved = (Metric(f"{called} top-{k}", "retrieval", name, top=k) for k in (1, 5))
    return (Metric(called, "two-way", name), *retrieved)
