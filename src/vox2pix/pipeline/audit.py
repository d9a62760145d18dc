"""Whether a run's images came from the brain: the audit of its files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.evaluation import Encoder, network, resize_images
from vox2pix.evaluation.audit import Audit, AuditInputs, audit
from vox2pix.evaluation.audit.figures import audit_figure
from vox2pix.linear import pearson_r
from vox2pix.pipeline.doubts import test_clusters, why_not_held_out
from vox2pix.pipeline.drawings import Drawing, fullest_condition
from vox2pix.pipeline.images import as_floats, c_donors, drawings_of, stored_images
from vox2pix.pipeline.latents import FloatArray, image_size
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.scoring import RETRIEVAL, make_encoder
from vox2pix.pipeline.spaces import feature_spaces
from vox2pix.store import load_arrays, replacing, swapped_in, write_json

_SMALL = 64  # pixels a side of the thumbnails that are compared


def audit_run(run: Run) -> Sequence[str]:
    """Make every check that the run's files allow; write ``audit.json`` and a figure of each."""
    # What other settings left must not be read as this run's.
    run.folder.remove("audit.json")
    if not run.config.audit.enabled:
        if run.folder.written("audit"):
            with swapped_in(run.path / "audit", "audit"):
                pass  # nothing is left of it
        return ()
    run.reporter.begin("Auditing", 2, "steps")
    found = audit(_inputs(run))
    run.reporter.advance(1)
    with swapped_in(run.path / "audit", "audit") as folder:
        records = _records(folder, found)
    write_json(run.path / "audit.json", records)
    run.reporter.advance(1)
    counts = dict.fromkeys(("pass", "warn", "fail"), 0)
    for finding in found.findings:
        counts[finding.verdict] += 1
    told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    run.reporter.say(f"Audit: {told}; {len(found.not_computed)} could not be made")
    return ("audit.json", *run.folder.written("audit"))


def _records(folder: Path, found: Audit) -> list[dict[str, Any]]:
    """Describe the findings for people and programs, and draw the figure of each."""
    records = []
    for finding in found.findings:
        figure, alt = audit_figure(finding)
        name = "".join(c if c.isalnum() else "-" for c in finding.name)
        with replacing(folder / f"{name}.png") as partial:
            figure.savefig(partial, format="png", dpi=200, metadata={"Software": None})
        records.append({**finding.record(), "figure": f"audit/{name}.png", "alt": alt})
    for name, reason in found.not_computed.items():
        records.append({"name": name, "verdict": None, "sentence": reason})
    return records


def _inputs(run: Run) -> AuditInputs:
    """Gather what the run has of each check's inputs."""
    has_c = run.subject.has_captions
    drawings = {d.name: d for d in drawings_of(run)}
    judged = fullest_condition(run.config, has_c)
    scores, layout = _scores(run, "original"), _scores(run, None)
    encoder = make_encoder(run)
    originals, seen = _looked_at(_originals(run), encoder)
    space = feature_spaces(run)[-1]
    decoded = load_arrays(run.path / "decoded" / f"{space.name}.safetensors")["predicted"]
    reconstructions, embeddings = _drawn(run, drawings[judged], encoder)
    return AuditInputs(
        scores=scores.get(judged),
        baseline_scores=scores.get(RETRIEVAL),
        layout_scores=layout.get(judged),
        baseline_layout_scores=layout.get(RETRIEVAL),
        ceiling_scores=scores.get(f"true-{judged}"),
        shuffled_scores=scores.get("shuffled"),
        mean_scores=scores.get("mean-brain"),
        noise_scores=scores.get("noise-brain"),
        true_features=_rows(space.targets(run, run.test_ids)),
        predicted_features=_rows(decoded),
        training_features=_rows(space.targets(run, run.subject.train.stimulus_ids)),
        feature=space.name,
        labels=test_clusters(run),
        originals=originals,
        reconstructions=reconstructions,
        training_images=run.subject.images(run.subject.train.stimulus_ids, size=_SMALL),
        original_embeddings=seen,
        embeddings=embeddings,
        held_out_embeddings=(
            _drawn(run, drawings["held-out"], encoder)[1] if "held-out" in drawings else None
        ),
        reasons={"held-out clusters": reason} if (reason := why_not_held_out(run)) else {},
        swap_similarities=_swap_similarities(run, drawings, encoder, seen),
        seed=run.config.seed,
    )


def _scores(run: Run, direction: str | None) -> dict[str, NDArray[np.float64]]:
    """Return the identification (or without a direction PixCorr) of each condition's images."""
    table = pd.read_csv(run.path / "scores.csv", dtype={"stimulus_id": str})
    wanted = table["metric"] == "pixcorr" if direction is None else table["direction"] == direction
    table = table[wanted]
    return {
        str(condition): rows.set_index("stimulus_id").loc[list(run.test_ids), "score"].to_numpy()
        for condition, rows in table.groupby("condition")
    }


def _originals(run: Run) -> Iterator[FloatArray]:
    """Yield what was seen, a shard of stimuli at a time."""
    step = run.config.compute.shard_size
    for start in range(0, len(run.test_ids), step):
        ids = run.test_ids[start : start + step]
        yield run.subject.images(ids, size=image_size(run))


def _looked_at(blocks: Iterator[FloatArray], encoder: Encoder) -> tuple[FloatArray, FloatArray]:
    """Return thumbnails and embeddings of images, (n, ...) each."""
    found = [(resize_images(block, _SMALL), encoder(block)) for block in blocks]
    small, embedded = zip(*found, strict=True)
    return np.concatenate(small), np.concatenate(embedded)


def _drawn(run: Run, drawing: Drawing, encoder: Encoder) -> tuple[FloatArray, FloatArray]:
    """Return thumbnails and embeddings (n, samples, ...) of a drawing."""
    stored = stored_images(run, drawing)
    shards = (stored.read(shard) for shard in range(stored.n_shards))
    flat = (as_floats(shard.reshape(-1, *shard.shape[2:])) for shard in shards)
    small, embedded = (
        found.reshape(-1, drawing.samples, *found.shape[1:]) for found in _looked_at(flat, encoder)
    )
    return small, embedded


def _rows(features: FloatArray) -> FloatArray:
    return features.reshape(len(features), -1)


def _swap_similarities(
    run: Run, drawings: dict[str, Drawing], encoder: Encoder, seen: FloatArray
) -> dict[str, NDArray[np.float64]] | None:
    """Hold images from one stimulus's z and another's c against both donors.

    The layout is compared by edges, because colours belong to the content as much as to it.
    """
    if "swapped" not in drawings:
        return None
    stored, edges = stored_images(run, drawings["swapped"]), network("edges")
    donors, size = c_donors(run), image_size(run)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for shard in range(stored.n_shards):
        rows = np.arange(len(donors))[stored.rows(shard)]
        swapped = as_floats(stored.read(shard)[:, 0])
        lines_drawn, drawn = edges(swapped), encoder(swapped)
        for name, of_name in (("layout", rows), ("content", donors[rows])):
            lines = edges(run.subject.images([run.test_ids[i] for i in of_name], size=size))
            # a uniform image has no edges: like every correlation with it, these count as 0
            for what, r in (
                ("layout", pearson_r(lines.T, lines_drawn.T)),
                ("content", pearson_r(seen[of_name].T, drawn.T)),
            ):
                found.setdefault(f"{what}_to_{name}_donor", []).append(np.nan_to_num(r))
    return {name: np.concatenate(parts) for name, parts in found.items()}
