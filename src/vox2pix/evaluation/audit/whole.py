"""The audit as a whole: every check that the inputs at hand allow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vox2pix.evaluation.audit.brain import (
    ceiling,
    diversity,
    held_out_clusters,
    null_control,
    swap,
    within_clusters,
    within_scores,
)
from vox2pix.evaluation.audit.finding import Finding, UnanswerableError, Verdict, worst
from vox2pix.evaluation.audit.spectrum import collapse
from vox2pix.evaluation.audit.training import (
    copies,
    distance_dependence,
    near_duplicates,
    nearest_training,
    retrieval_baseline,
    small_pixels,
)
from vox2pix.evaluation.metrics.identification import CHANCE


@dataclass(frozen=True)
class AuditInputs:
    """What the audit examines; leave out what is not available.

    Scores are one per test image (n,), higher is better, the mean over its samples, all by the same
    metric against the same pool. Row i belongs to test stimulus i throughout.

    Attributes
    ----------
    scores, baseline_scores, ceiling_scores : array_like of float, shape (n,)
        Of the reconstructions, of the nearest training images by decoded features, and of the
        images from true features.
    layout_scores, baseline_layout_scores : array_like of float, shape (n,)
        PixCorr of the reconstructions, and of the nearest training images.
    shuffled_scores, mean_scores, noise_scores : array_like of float, shape (n,)
        Of what the pipeline draws from shuffled responses, the mean response and noise.
    chance : float
        Of the scores.
    true_features, predicted_features, training_features : array_like of float, shape (n, d)
        Of one target, of the test images, decoded, and of the training images; the last
        (n_training, d) is sliced by rows.
    feature : str
        What this target is called.
    labels : array_like, shape (n,)
        Cluster of each test image.
    originals, training_images : array_like of float, shape (n or n_training, height, width, 3)
        RGB in [0, 1]; compared at 32 x 32 pixels.
    reconstructions : array_like of float, shape (n, n_samples, height, width, 3)
    original_embeddings : array_like of float, shape (n, e)
        What the metric computes from the originals.
    embeddings, held_out_embeddings : array_like of float, shape (n, n_samples, e)
        From the reconstructions, and from images decoded with their cluster held out of training.
    swap_similarities : mapping of str to array_like of float, shape (n,)
        By the names of the arguments of :func:`~vox2pix.evaluation.audit.brain.swap`.
    seed : int
        Of all resamples.
    reasons : mapping of str to str
        Why inputs are left out, by the name of the check that needs them.
    """

    scores: ArrayLike | None = None
    baseline_scores: ArrayLike | None = None
    layout_scores: ArrayLike | None = None
    baseline_layout_scores: ArrayLike | None = None
    ceiling_scores: ArrayLike | None = None
    shuffled_scores: ArrayLike | None = None
    mean_scores: ArrayLike | None = None
    noise_scores: ArrayLike | None = None
    chance: float = CHANCE
    true_features: ArrayLike | None = None
    predicted_features: ArrayLike | None = None
    training_features: Any = None
    feature: str = "target"
    labels: ArrayLike | None = None
    originals: ArrayLike | None = None
    reconstructions: ArrayLike | None = None
    training_images: ArrayLike | None = None
    original_embeddings: ArrayLike | None = None
    embeddings: ArrayLike | None = None
    held_out_embeddings: ArrayLike | None = None
    swap_similarities: Mapping[str, ArrayLike] | None = None
    seed: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """The findings of the audit, in the order of the checks."""

    findings: tuple[Finding, ...]
    not_computed: Mapping[str, str] = field(default_factory=dict)  # the reasons

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings; checks that were not made do not count."""
        return worst([finding.verdict for finding in self.findings])


def audit(inputs: AuditInputs) -> Audit:
    """Make every check that the inputs allow.

    Parameters
    ----------
    inputs : AuditInputs

    Returns
    -------
    Audit
        Every check is either among the findings or named with the reason why it is not.

    Raises
    ------
    ValueError
        For inputs of the wrong shape, or that are not finite.
    """
    findings, not_computed = [], {}
    for name, (needs, check) in _CHECKS.items():
        missing = [need for need in needs if getattr(inputs, need) is None]
        if missing:
            absent = f"there are no {' and no '.join(missing)}".replace("_", " ")
            not_computed[name] = inputs.reasons.get(name, absent)
            continue
        try:
            findings.append(check(inputs))
        except UnanswerableError as reason:
            not_computed[name] = str(reason)
    return Audit(tuple(findings), not_computed)


def _distance(inputs: Any) -> Finding:
    _, r = nearest_training(inputs.true_features, inputs.training_features, centred=True)
    return distance_dependence(inputs.scores, 1 - r, inputs.chance, inputs.seed)


def _held_out(inputs: Any) -> Finding:
    ordinary, held_out = (
        within_scores(inputs.original_embeddings, seen, inputs.labels)
        for seen in (inputs.embeddings, inputs.held_out_embeddings)
    )
    clustered = np.isfinite(ordinary)
    return held_out_clusters(ordinary[clustered], held_out[clustered])


def _null(kind: str) -> Callable[[Any], Finding]:
    return lambda i: null_control(kind, i.scores, getattr(i, f"{kind}_scores"), i.chance)


def _diversity(inputs: Any) -> Finding:
    drawn = np.asarray(inputs.reconstructions)
    pixels = small_pixels(drawn.reshape(-1, *drawn.shape[2:]))
    return diversity(small_pixels(inputs.originals), pixels.reshape(*drawn.shape[:2], -1))


_CHECKS: dict[str, tuple[tuple[str, ...], Callable[[Any], Finding]]] = {
    "shuffled control": (("scores", "shuffled_scores"), _null("shuffled")),
    "mean control": (("scores", "mean_scores"), _null("mean")),
    "noise control": (("scores", "noise_scores"), _null("noise")),
    "ceiling": (
        ("scores", "ceiling_scores"),
        lambda i: ceiling(i.scores, i.ceiling_scores, i.chance, i.seed),
    ),
    "retrieval baseline": (
        ("scores", "baseline_scores"),
        lambda i: retrieval_baseline(i.scores, i.baseline_scores),
    ),
    "retrieval baseline, layout": (
        ("layout_scores", "baseline_layout_scores"),
        lambda i: retrieval_baseline(i.layout_scores, i.baseline_layout_scores, "layout (PixCorr)"),
    ),
    "distance to training": (("scores", "true_features", "training_features"), _distance),
    "near duplicates": (
        ("originals", "training_images"),
        lambda i: near_duplicates(i.originals, i.training_images),
    ),
    "copies": (
        ("reconstructions", "originals", "training_images"),
        lambda i: copies(i.reconstructions, i.originals, i.training_images),
    ),
    "diversity": (("originals", "reconstructions"), _diversity),
    "within clusters": (
        ("original_embeddings", "embeddings", "labels"),
        lambda i: within_clusters(i.original_embeddings, i.embeddings, i.labels),
    ),
    "held-out clusters": (
        ("original_embeddings", "embeddings", "held_out_embeddings", "labels"),
        _held_out,
    ),
    "effective rank": (
        ("true_features", "predicted_features"),
        lambda i: collapse(i.true_features, i.predicted_features, i.feature),
    ),
    "swap": (("swap_similarities",), lambda i: swap(**i.swap_similarities)),
}
