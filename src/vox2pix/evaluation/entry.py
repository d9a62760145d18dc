"""From two paths and a protocol's name to numbers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vox2pix.config import without_place
from vox2pix.errors import UserError
from vox2pix.evaluation.captions import with_captions
from vox2pix.evaluation.inputs import open_images
from vox2pix.evaluation.networks import Encoder, encoder_hashes, network, weights_digest
from vox2pix.evaluation.protocols import Metric
from vox2pix.evaluation.protocols import protocol as find_protocol
from vox2pix.evaluation.scoring import Evaluation, Progress, score_collections


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
    samples : str, optional
        Pattern of the reconstructions' files, such as ``{id}_{sample}.png``.
    truth_files : str, optional
        Pattern of the originals' files, such as ``{id}_org.png``; files of this pattern are left
        out of the reconstructions where both lie in one folder.
    protocol : str
        A name in :data:`~vox2pix.evaluation.protocols.PROTOCOLS`.
    networks : sequence of str
        Networks to identify and retrieve by beside the protocol's own metrics, as
        :func:`~vox2pix.evaluation.network` takes them.
    weights : str or Path, optional
        A folder of weights, by the names in :data:`~vox2pix.evaluation.networks.weights.WEIGHTS`.
    download : bool
        Fetch weights that are not on this machine.
    device : str
        Where networks run.
    captions, references : Path, optional
        Decoded captions of the same stimuli and those that people wrote, as
        :func:`~vox2pix.evaluation.captions.read_captions` takes them.
    seed : int
        Of the resamples and the mismatched pairs.
    progress : callable
        Told the step, how much of it is done, and of how much.

    Returns
    -------
    Evaluation
        What was found.
    dict
        What it was found from: paths, settings, SHA-256 of the weights.

    Raises
    ------
    UserError
        For images that cannot be read or paired, an unknown name, damaged weights, or where
        no metric can be computed.
    """
    wanted = find_protocol(protocol)
    extra = [metric for name in dict.fromkeys(networks) for metric in _by_network(name)]
    wanted = replace(wanted, metrics=(*wanted.metrics, *extra))
    place = Path(weights) if weights is not None else None
    if place is not None and not place.is_dir():
        raise UserError(f"{place} is no folder; name the one that holds the weights")
    if (captions is None) != (references is None):
        raise UserError(
            "captions are scored against references; give both --captions and --references"
        )
    used: dict[str, dict[str, str]] = {}
    loaded: dict[str | Path, Any] = {}
    digests: dict[str, str] = {}

    def load(metric: Metric) -> Encoder:
        """Return a metric's network, and keep the hashes of its weights."""
        name = str(metric.network)
        encoder = network(
            name,
            weights=place,
            download=download,
            resizing=metric.resizing,
            device=device,
            loaded=loaded,
        )
        used[name] = encoder_hashes(name, place, download)
        if used[name]:
            digests[name] = weights_digest(used[name])
        return encoder

    one_folder = Path(truth).resolve() == Path(reconstructions).resolve()
    found = score_collections(
        open_images(truth, originals=truth_files),
        open_images(reconstructions, samples, without=truth_files if one_folder else None),
        wanted,
        load,
        weights=digests,
        seed=seed,
        progress=progress,
    )
    if captions is not None and references is not None:
        found = with_captions(found, captions, references, seed)
    told = {
        "captions": str(captions) if captions else None,
        "references": str(references) if references else None,
        "truth": str(truth),
        "reconstructions": str(reconstructions),
        "samples": samples,
        "truth_files": truth_files,
        "seed": seed,
        "device": device,
        "weights": used,
    }
    return found, told


def _by_network(name: str) -> tuple[Metric, ...]:
    """Return what a network beside the protocol's is asked."""
    called = without_place(name)  # a folder's: tables are sent to others
    retrieved = (Metric(f"{called} top-{k}", "retrieval", name, top=k) for k in (1, 5))
    return (Metric(called, "two-way", name), *retrieved)
