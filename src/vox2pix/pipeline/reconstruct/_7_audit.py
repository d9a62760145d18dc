"""Stage 7 of a reconstruction: whether the images came from the brain."""

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.evaluation import Encoder, image_encoder, network, resize_images
from vox2pix.evaluation.audit import Audit, AuditInputs, audit
from vox2pix.evaluation.audit.figures import audit_figure
from vox2pix.linear import pearson_r
from vox2pix.pipeline.costs import Cost, Planned
from vox2pix.pipeline.drawings import (
    RETRIEVAL,
    Drawing,
    as_floats,
    donors,
    drawings_of,
    judged_condition,
    stored_images,
    test_clusters,
    why_not_held_out,
)
from vox2pix.pipeline.experiment import (
    FloatArray,
    content_target,
    decoded,
    features,
    flat,
    image_size,
    targets,
)
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.store import replacing, swapped_in, write_json

_THUMBNAIL = 64  # pixels a side of the images that are compared
Similarities = dict[str, NDArray[np.float64]]


def compute(
    layouts: tuple[FloatArray, FloatArray, FloatArray],
    contents: tuple[FloatArray, FloatArray, FloatArray],
) -> Similarities:
    """Compare swapped images with the donors of their layout and of their content.

    `layouts` and `contents` are features (n, n_features) of the swapped images, of the donors of
    layout, and of the donors of content: edges, in which colours do not count, and embeddings.

    Returns Pearson r (n,): ``layout_to_layout_donor``, ``layout_to_content_donor``,
    ``content_to_layout_donor``, ``content_to_content_donor``. A uniform image has no edges; its
    correlations count as 0.
    """
    similarities = {}
    for kind, (swapped, *of_donors) in (("layout", layouts), ("content", contents)):
        for donor, rows in zip(("layout", "content"), of_donors, strict=True):
            r = pearson_r(rows.T, swapped.T)
            similarities[f"{kind}_to_{donor}_donor"] = np.nan_to_num(r)
    return similarities


def _audit(run: Run) -> Sequence[str]:
    """Make every check that the run's files allow; write ``audit.json`` and a figure of each."""
    run.folder.remove("audit.json")  # what other settings left must not be read as this run's
    if not run.config.audit.enabled:
        if run.folder.written("audit"):
            with swapped_in(run.path / "audit", "audit"):
                pass  # nothing is left of it
        return ()
    run.reporter.begin("Auditing", 2, "steps")
    result = audit(audit_inputs(run))
    run.reporter.advance(1)
    with swapped_in(run.path / "audit", "audit") as folder:
        records = _records(folder, result)
    write_json(run.path / "audit.json", records)
    run.reporter.advance(1)
    counts = dict.fromkeys(("pass", "warn", "fail"), 0)
    for finding in result.findings:
        counts[finding.verdict] += 1
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    run.reporter.say(f"Audit: {verdicts}; {len(result.not_computed)} not computed")
    return ("audit.json", *run.folder.written("audit"))


def _records(folder: Path, result: Audit) -> list[dict[str, Any]]:
    """Describe the findings for people and programs, and draw the figure of each."""
    records = []
    for finding in result.findings:
        figure, alt = audit_figure(finding)
        name = "".join(c if c.isalnum() else "-" for c in finding.name)
        with replacing(folder / f"{name}.png") as partial:
            figure.savefig(partial, format="png", dpi=200, metadata={"Software": None})
        records.append({**finding.record(), "figure": f"audit/{name}.png", "alt": alt})
    for name, reason in result.not_computed.items():
        records.append({"name": name, "verdict": None, "sentence": reason})
    return records


def audit_inputs(run: Run) -> AuditInputs:
    """Collect what the run has of each check's inputs."""
    drawings = {d.name: d for d in drawings_of(run)}
    judged = str(judged_condition(run.config, run.subject.has_captions))
    scores, layout = _scores(run, "original"), _scores(run, None)
    encoder = image_encoder(run.config.evaluate.encoder, device=run.config.compute.device)
    originals, embedded = _small_and_embedded(_originals(run), encoder)
    name, train_ids = content_target(targets(run)), run.subject.train.stimulus_ids
    reconstructions, embeddings = _of_drawing(run, drawings[judged], encoder)
    held_out = drawings.get("held-out")
    reason = why_not_held_out(run)
    return AuditInputs(
        scores=scores.get(judged),
        baseline_scores=scores.get(RETRIEVAL),
        layout_scores=layout.get(judged),
        baseline_layout_scores=layout.get(RETRIEVAL),
        ceiling_scores=scores.get(f"true-{judged}"),
        shuffled_scores=scores.get("shuffled"),
        mean_scores=scores.get("mean-response"),
        noise_scores=scores.get("noise-response"),
        true_features=flat(features(run, name, run.test_ids)),
        predicted_features=flat(decoded(run, name)),
        training_features=flat(features(run, name, train_ids)),
        feature=name,
        labels=test_clusters(run),
        originals=originals,
        reconstructions=reconstructions,
        training_images=run.subject.images(train_ids, size=_THUMBNAIL),
        original_embeddings=embedded,
        embeddings=embeddings,
        held_out_embeddings=None if held_out is None else _of_drawing(run, held_out, encoder)[1],
        reasons={"held-out clusters": reason} if reason else {},
        swap_similarities=_swap_similarities(run, drawings.get("swapped"), encoder, embedded),
        seed=run.config.seed,
    )


def _scores(run: Run, direction: str | None) -> Similarities:
    """Return the identification (or without a direction PixCorr) of each condition's images."""
    table = pd.read_csv(run.path / "scores.csv", dtype={"stimulus_id": str})
    column, value = ("metric", "pixcorr") if direction is None else ("direction", direction)
    return {
        str(condition): rows.set_index("stimulus_id").loc[list(run.test_ids), "score"].to_numpy()
        for condition, rows in table[table[column] == value].groupby("condition")
    }


def _originals(run: Run) -> Iterator[FloatArray]:
    """Yield the test stimuli, a shard at a time."""
    step = run.config.compute.shard_size
    for start in range(0, len(run.test_ids), step):
        yield run.subject.images(run.test_ids[start : start + step], size=image_size(run))


def _small_and_embedded(
    blocks: Iterator[FloatArray], encoder: Encoder
) -> tuple[FloatArray, FloatArray]:
    """Return thumbnails and embeddings of images, (n, ...) each."""
    pairs = [(resize_images(block, _THUMBNAIL), encoder(block)) for block in blocks]
    small, embedded = zip(*pairs, strict=True)
    return np.concatenate(small), np.concatenate(embedded)


def _of_drawing(run: Run, drawing: Drawing, encoder: Encoder) -> tuple[FloatArray, FloatArray]:
    """Return thumbnails and embeddings (n, samples, ...) of a drawing."""
    stored = stored_images(run, drawing)
    shards = (stored.read(shard) for shard in range(stored.n_shards))
    images = (as_floats(shard.reshape(-1, *shard.shape[2:])) for shard in shards)
    small, embedded = (
        rows.reshape(-1, drawing.samples, *rows.shape[1:])
        for rows in _small_and_embedded(images, encoder)
    )
    return small, embedded


def _swap_similarities(
    run: Run, drawing: Drawing | None, encoder: Encoder, embedded: FloatArray
) -> Similarities | None:
    """Compare images of one stimulus's layout and another's content with both, in blocks."""
    if drawing is None:
        return None
    stored, edges = stored_images(run, drawing), network("edges")
    of_content = donors(len(run.test_ids), run.config.seed)
    blocks: list[Similarities] = []
    for shard in range(stored.n_shards):
        rows = np.arange(len(of_content))[stored.rows(shard)]
        swapped = as_floats(stored.read(shard)[:, 0])
        both = [
            run.subject.images([run.test_ids[i] for i in of], size=image_size(run))
            for of in (rows, of_content[rows])
        ]
        blocks.append(
            compute(
                (edges(swapped), edges(both[0]), edges(both[1])),
                (encoder(swapped), embedded[rows], embedded[of_content[rows]]),
            )
        )
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _cost(p: Planned) -> Cost | None:
    if not p.config.audit.enabled:
        return None
    n, m = p.sizes.n_test, p.sizes.n_train
    n_images = n * (p.config.generate.samples + 2)
    pixels = n_images * p.model.image_size**2 * 3.0
    width = prod(p.shapes[p.content])
    thumbnails = (m + n_images) * 64.0**2 * 3 * 4
    return Cost(
        "audit",
        f"checks on {n_images:,} images",
        pixels + thumbnails,
        2e6,
        4.0 * (m + 4 * n) * width + 2 * thumbnails + 1.5e9,
        10 + p.seconds(2.0 * n * m * width) + pixels * 2e-8 + m * 5e-3,
    )


AUDIT = Stage("audit", "Audit", _audit, after=("evaluate",), cost=_cost)
