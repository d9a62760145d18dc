"""Whether a run's pictures came from the brain: the audit of its files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.evaluation import network
from vox2pix.evaluation.audit import Audit, AuditInputs, audit
from vox2pix.evaluation.audit.figures import audit_figure
from vox2pix.linear import pearson_r
from vox2pix.pipeline.doubts import cluster_labels
from vox2pix.pipeline.drawings import Drawing, fullest_condition
from vox2pix.pipeline.latents import FloatArray
from vox2pix.pipeline.pictures import as_floats, c_donors, drawings_of, stored_pictures
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.scoring import RETRIEVAL, make_encoder
from vox2pix.pipeline.spaces import feature_spaces
from vox2pix.store import load_arrays, replacing, write_json

_TRAINING_PICTURE_SIZE = 64  # of the thumbnails that are compared


def audit_run(run: Run) -> Sequence[str]:
    """Make every check that the run's files allow; write ``audit.json`` and a figure of each."""
    if not run.config.audit.enabled:
        return ()
    run.reporter.begin("Auditing", 2, "steps")
    found = audit(_inputs(run))
    run.reporter.advance(1)
    write_json(run.path / "audit.json", _records(run, found))
    run.reporter.advance(1)
    counts = dict.fromkeys(("pass", "warn", "fail"), 0)
    for finding in found.findings:
        counts[finding.verdict] += 1
    told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    run.reporter.say(f"Audit: {told}; {len(found.not_computed)} could not be made")
    return ("audit.json",)


def _records(run: Run, found: Audit) -> list[dict[str, Any]]:
    """Describe the findings for people and programs, and draw the figure of each."""
    records = []
    for finding in found.findings:
        figure, alt = audit_figure(finding)
        name = "".join(c if c.isalnum() else "-" for c in finding.name)
        path = run.path / "audit" / f"{name}.png"
        with replacing(path) as partial:
            figure.savefig(partial, dpi=200, metadata={"Software": None})
        records.append({**finding.record(), "figure": f"audit/{name}.png", "alt": alt})
    for name, reason in found.not_computed.items():
        records.append({"name": name, "verdict": None, "sentence": reason})
    return records


def _inputs(run: Run) -> AuditInputs:
    """Gather what the run has of each check's inputs."""
    has_c = run.subject.has_captions
    drawings = {d.name: d for d in drawings_of(run)}
    judged = fullest_condition(has_c)
    scores, layout = _scores(run, "original"), _scores(run, None)
    originals = run.subject.pictures(run.test_ids, size=run.model.picture_size)
    reconstructions = _drawn(run, drawings[judged]) if judged in drawings else None
    encoder = make_encoder(run)
    seen = encoder(originals)
    space = feature_spaces(run)[-1]
    n_train = len(run.subject.train.stimulus_ids)
    decoded = load_arrays(run.path / "decoded" / f"{space.name}.safetensors")["predicted"]
    embeddings = None
    if reconstructions is not None:
        samples = reconstructions.shape[1]
        embeddings = np.stack([encoder(reconstructions[:, k]) for k in range(samples)], axis=1)
    return AuditInputs(
        scores=scores.get(judged),
        baseline_scores=scores.get(RETRIEVAL),
        layout_scores=layout.get(judged),
        baseline_layout_scores=layout.get(RETRIEVAL),
        ceiling_scores=scores.get(f"true-{judged}"),
        held_out_scores=scores.get("held-out"),
        shuffled_scores=scores.get("shuffled"),
        mean_scores=scores.get("mean-brain"),
        noise_scores=scores.get("noise-brain"),
        true_features=_rows(space.targets(run, run.test_ids)),
        predicted_features=_rows(decoded),
        training_features=_rows(space.targets(run, run.subject.train.stimulus_ids)),
        labels=cluster_labels(run)[n_train:],
        originals=originals,
        reconstructions=reconstructions,
        training_pictures=run.subject.pictures(
            run.subject.train.stimulus_ids, size=_TRAINING_PICTURE_SIZE
        ),
        original_embeddings=seen,
        embeddings=embeddings,
        swap_similarities=_swap_similarities(run, drawings, originals, seen),
        seed=run.config.seed,
    )


def _scores(run: Run, direction: str | None) -> dict[str, NDArray[np.float64]]:
    """Return the identification (or without a direction PixCorr) of each condition's pictures."""
    table = pd.read_csv(run.path / "scores.csv", dtype={"stimulus_id": str})
    wanted = table["metric"] == "pixcorr" if direction is None else table["direction"] == direction
    table = table[wanted]
    return {
        str(condition): rows.set_index("stimulus_id").loc[list(run.test_ids), "score"].to_numpy()
        for condition, rows in table.groupby("condition")
    }


def _drawn(run: Run, drawing: Drawing) -> FloatArray:
    return as_floats(stored_pictures(run, drawing).read())


def _rows(features: FloatArray) -> FloatArray:
    return features.reshape(len(features), -1)


def _swap_similarities(
    run: Run, drawings: dict[str, Drawing], originals: FloatArray, seen: FloatArray
) -> dict[str, NDArray[np.float64]] | None:
    """Hold pictures from one stimulus's z and another's c against both donors."""
    if "swapped" not in drawings:
        return None
    swapped = _drawn(run, drawings["swapped"])[:, 0]
    of_swapped = make_encoder(run)(swapped)
    donors = c_donors(run)
    # Edges, because colours belong to the content as much as to the layout.
    edges = network("edges")
    lines, lines_swapped = edges(originals), edges(swapped)
    return {
        "layout_to_z": pearson_r(lines.T, lines_swapped.T),
        "layout_to_c": pearson_r(lines[donors].T, lines_swapped.T),
        "content_to_z": pearson_r(seen.T, of_swapped.T),
        "content_to_c": pearson_r(seen[donors].T, of_swapped.T),
    }
