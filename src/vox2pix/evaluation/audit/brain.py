"""Whether the score comes from the brain: controls, the ceiling, clusters, swapped features."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vox2pix.evaluation.audit.finding import (
    Finding,
    UnanswerableError,
    Verdict,
    check_scores,
    mean_interval,
    written,
)
from vox2pix.evaluation.intervals import joint_interval
from vox2pix.evaluation.metrics.identification import CHANCE, two_way_scores, unit_rows
from vox2pix.seeds import seed_for

_SURE = 0.99  # three controls are tested, and each may seem above chance by chance
_LEAK = 0.1  # share of the lead over chance that a control may have
_REMAINING = 0.5  # share of the lead over chance that new clusters should have
_ALIKE = 0.99  # correlation above which two images are one
_ROUNDING = 1e-9  # of a correlation in float64


def null_control(
    kind: str, scores: ArrayLike, null_scores: ArrayLike, chance: float = CHANCE
) -> Finding:
    """Score what the same pipeline draws from responses that hold nothing of the image.

    The value is the mean score of the null condition, whose ``kind`` is ``shuffled`` (responses of
    other stimuli), ``mean`` (the mean response for all) or ``noise`` (noise of the responses'
    variance). It fails where the real responses do not beat the null condition (the 95 % interval
    of the paired difference reaches down to zero), or where the null condition beats chance (its 99
    % interval, which is the one given, is above) by more than a tenth of what the real responses
    do; it warns where it beats chance by less. Scores are one per test image, (n,), with a chance
    that does not depend on the images, as that of identification; correlations of pixels have none.
    """
    real, null = check_scores(scores, null_scores)
    value, ci = mean_interval(null, _SURE)
    real_value = float(real.mean())
    lead, lead_ci = mean_interval(real - null)
    if lead_ci[0] <= 0:
        verdict: Verdict = "fail"
        meaning = "the real responses do no better, so the score does not come from them"
    elif ci[0] <= chance:
        verdict, meaning = "pass", "not above chance, as it should be"
    elif value - chance > _LEAK * (real_value - chance):
        verdict, meaning = "fail", "above chance, so something else tells the images apart"
    else:
        verdict, meaning = "warn", "slightly above chance"
    return Finding(
        name=f"{kind} control",
        verdict=verdict,
        sentence=f"The {kind} control scores {written(value, ci)} where chance is {chance:.3f} and "
        f"the real responses reach {real_value:.3f} (lead {written(lead, lead_ci)}): {meaning}.",
        value=value,
        ci=ci,
        references={"chance": chance, "real responses": real_value},
        details={"scores": real, "null_scores": null},
    )


def ceiling(
    scores: ArrayLike, ceiling_scores: ArrayLike, chance: float = CHANCE, seed: int = 0
) -> Finding:
    """Compare the score's lead over chance with that of images from the true features.

    The value is the share (mean score - chance) / (mean ceiling - chance), of scores (n,) per test
    image. It fails where its interval reaches down to zero (nothing is decoded). It warns where the
    interval is above one: images from decoded features should not beat those from the true ones.
    Unanswerable where images from the true features are themselves at chance.
    """
    decoded, true = check_scores(scores, ceiling_scores)
    top, top_ci = mean_interval(true)
    if top_ci[0] <= chance:
        raise UnanswerableError(
            f"images from the true features score {written(top, top_ci)}, which is not above "
            f"the chance of {chance:.3f}; the generator or the metric is blind"
        )
    share = float((decoded.mean() - chance) / (top - chance))
    ci = joint_interval(
        lambda a, b: (a.mean(axis=1) - chance) / (b.mean(axis=1) - chance),
        decoded,
        true,
        seed=seed_for(seed, "audit"),
    )
    verdict: Verdict = "fail" if ci[0] <= 0 else "warn" if ci[0] > 1 else "pass"
    meaning = {
        "fail": "nothing is decoded",
        "warn": "decoded features should not beat the true ones, so look for a leak",
        "pass": "so much of what the generator can show is read from the brain",
    }[verdict]
    return Finding(
        name="ceiling",
        verdict=verdict,
        sentence=f"Decoding reaches {100 * share:.1f} % [{100 * ci[0]:.1f}, {100 * ci[1]:.1f}] of "
        f"the ceiling's lead over chance (ceiling {top:.3f}, chance {chance:.3f}): {meaning}.",
        value=share,
        ci=ci,
        references={"chance": chance, "score": float(decoded.mean()), "ceiling": top},
        details={"scores": decoded, "ceiling_scores": true},
    )


def held_out_clusters(
    scores: ArrayLike, held_out_scores: ArrayLike, chance: float = CHANCE
) -> Finding:
    """Compare ordinary training with training that never saw the test image's cluster.

    Scores (n,) must be among test images of the same cluster (:func:`within_scores`): each cluster
    has a decoder of its own, whose mean is far from just that cluster, so that among all images
    even a decoder without information is far below one half.

    The value is the mean score with the cluster held out (Shirakawa et al. 2025: a decoder that
    only names the cluster cannot go beyond those it saw). It fails where its interval reaches down
    to chance, and warns where it keeps less than half of the lead over chance.
    """
    ordinary, held_out = check_scores(scores, held_out_scores)
    value, ci = mean_interval(held_out)
    reached = float(ordinary.mean())
    if ci[0] <= chance:
        verdict: Verdict = "fail"
        meaning = "at chance, so what is decoded is no more than the cluster"
    elif value - chance < _REMAINING * (reached - chance):
        verdict, meaning = "warn", "less than half of the lead over chance remains"
    else:
        verdict, meaning = "pass", "decoding goes beyond the clusters it was trained on"
    return Finding(
        name="held-out clusters",
        verdict=verdict,
        sentence=f"With its cluster left out of training an image is identified among those of "
        f"its cluster with {written(value, ci)}, with ordinary training {reached:.3f} "
        f"(chance {chance:.3f}): {meaning}.",
        value=value,
        ci=ci,
        references={"chance": chance, "ordinary training": reached},
        details={"scores": ordinary, "held_out_scores": held_out},
    )


def within_clusters(
    original_features: ArrayLike, features: ArrayLike, labels: ArrayLike
) -> Finding:
    """Identify images among those of their own cluster only.

    Two-way identification (:func:`~vox2pix.evaluation.two_way`, mean of both
    directions) of each test image against the others of its cluster: a generator that takes nothing
    but the cluster from the brain is at one half, however well it does against all. The value is
    the mean over images, and fails where its interval reaches down to one half. Images that are
    alone in their cluster are left out. Features are (n, d), those of reconstructions perhaps (n,
    n_samples, d); labels (n,).
    """
    scores = within_scores(original_features, features, labels)
    scores = scores[np.isfinite(scores)]
    everywhere = two_way_scores(np.asarray(original_features), np.asarray(features))
    all_scores = (everywhere["original"] + everywhere["reconstruction"]) / 2
    overall = float(all_scores.mean())
    value, ci = mean_interval(scores)
    verdict: Verdict = "fail" if ci[0] <= CHANCE else "pass"
    meaning = (
        "at chance, so the image tells the cluster and nothing else"
        if verdict == "fail"
        else "the image depends on the brain within a cluster too"
    )
    return Finding(
        name="within clusters",
        verdict=verdict,
        sentence=f"Among test images of its own cluster an image is identified with "
        f"{written(value, ci)}, among all with {overall:.3f} (chance {CHANCE}): {meaning}.",
        value=value,
        ci=ci,
        references={"chance": CHANCE, "among all": overall},
        details={"within_scores": scores, "scores": all_scores},
    )


def within_scores(
    original_features: ArrayLike, features: ArrayLike, labels: ArrayLike
) -> NDArray[np.float64]:
    """Return two-way identification (n,) of each test image among those of its own cluster.

    The mean of both directions, chance one half; NaN for an image that is alone in its cluster.
    """
    originals, drawn, clusters = map(np.asarray, (original_features, features, labels))
    if not len(originals) == len(drawn) == len(clusters):
        raise ValueError(
            f"There are {len(originals)} originals, {len(drawn)} reconstructions and "
            f"{len(clusters)} labels."
        )
    scores = np.full(len(originals), np.nan)
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        if len(members) > 1:
            both = two_way_scores(originals[members], drawn[members])
            scores[members] = (both["original"] + both["reconstruction"]) / 2
    if np.isnan(scores).all():
        raise UnanswerableError("no two test images share a cluster")
    return scores


def diversity(original_features: ArrayLike, features: ArrayLike) -> Finding:
    """Compare how much reconstructions differ from each other with how much originals do.

    The value is the ratio of the mean pairwise distances 1 - r, over pairs of stimuli, of features
    (n, d) or, sample by sample, (n, n_samples, d). It fails below a tenth, or where more than half
    of the images have a twin (r > 0.99) among those of other stimuli: different responses give one
    image. It warns below a quarter, or where more than one in twenty have a twin. Noise of the
    generator counts as difference, so that passing does not show that the brain makes it.
    """
    originals, drawn = np.asarray(original_features), np.asarray(features)
    drawn = drawn[:, None] if drawn.ndim == 2 else drawn
    if len(originals) != len(drawn) or len(drawn) < 2:
        raise ValueError(
            f"Diversity needs two or more stimuli, as many originals as reconstructions, not "
            f"{len(originals)} and {len(drawn)}."
        )
    spread, _ = _spread_and_twins(originals)
    if spread < _ROUNDING:
        raise UnanswerableError("the originals do not differ")
    measured = [_spread_and_twins(drawn[:, i]) for i in range(drawn.shape[1])]
    drawn_spread, twins = np.mean(measured, axis=0)
    ratio = float(drawn_spread / spread)
    if ratio < 0.1 or twins > 0.5:
        verdict: Verdict = "fail"
        meaning = "different responses give one image"
    elif ratio < 0.25 or twins > 0.05:
        verdict, meaning = "warn", "different responses give rather similar images"
    else:
        verdict, meaning = "pass", "different responses give different images"
    return Finding(
        name="diversity",
        verdict=verdict,
        sentence=f"Reconstructions differ from each other {ratio:.2f} times as much as originals "
        f"do, and {twins:.0%} have a twin among those of other stimuli: {meaning}.",
        value=ratio,
        references={"originals": spread, "reconstructions": float(drawn_spread)}
        | {"twins": float(twins)},
    )


def _spread_and_twins(features: np.ndarray) -> tuple[float, float]:
    """Return the mean of 1 - r over pairs and the share of rows with a twin."""
    unit = unit_rows(features)
    r = unit @ unit.T
    # Constant images correlate with nothing by convention, yet they are all alike.
    flat = ~unit.any(axis=1)
    r[np.ix_(flat, flat)] = 1
    others = ~np.eye(len(r), dtype=bool)
    return float(np.mean(1 - r[others])), float(np.mean((others & (r > _ALIKE)).any(axis=1)))


def swap(
    layout_to_layout_donor: ArrayLike,
    layout_to_content_donor: ArrayLike,
    content_to_layout_donor: ArrayLike,
    content_to_content_donor: ArrayLike,
) -> Finding:
    """Ask of images from the layout of one stimulus and the content of another which follows which.

    Similarities are (n,), of each swapped image to both of its donors: in layout (e.g. SSIM,
    PixCorr) and in content (e.g. correlation of CLIP's embeddings). Each should be nearer to its
    own donor. The value is the smaller of the two leads (in the units of the similarities; the
    interval is its own). It passes where both intervals are above zero, warns where one does,
    fails where none does.
    """
    layout_own, layout_other, content_other, content_own = check_scores(
        layout_to_layout_donor,
        layout_to_content_donor,
        content_to_layout_donor,
        content_to_content_donor,
    )
    layout, layout_ci = mean_interval(layout_own - layout_other)
    content, content_ci = mean_interval(content_own - content_other)
    follows = {
        "the layout follows its donor": layout_ci[0] > 0,
        "the content follows its donor": content_ci[0] > 0,
    }
    verdicts: tuple[Verdict, ...] = ("fail", "warn", "pass")
    shown = [name for name, is_so in follows.items() if is_so]
    value, ci = min((layout, layout_ci), (content, content_ci))
    return Finding(
        name="swap",
        verdict=verdicts[len(shown)],
        sentence=f"Drawn from the layout of one stimulus and the content of another, images are "
        f"nearer to the layout donor in layout by {written(layout, layout_ci)} and to the content "
        f"donor in content by {written(content, content_ci)}: "
        f"{' and '.join(shown) or 'neither follows its donor'}.",
        value=value,
        ci=ci,
        references={"layout lead": layout, "content lead": content},
        details={
            "layout_lead": layout_own - layout_other,
            "content_lead": content_own - content_other,
        },
    )
