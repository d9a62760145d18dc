"""Stage 2 of a reconstruction: the true values of every target, for all stimuli."""

from collections.abc import Sequence
from typing import Any

from vox2pix.evaluation import image_encoder
from vox2pix.pipeline.costs import targets_cost
from vox2pix.pipeline.experiment import (
    MODEL_FILE,
    extract_targets,
    feature_settings,
    targets,
)
from vox2pix.pipeline.inputs import target_hashes
from vox2pix.pipeline.run import Run
from vox2pix.pipeline.stage import Stage
from vox2pix.store import write_json


def _extract(run: Run) -> Sequence[str]:
    """Compute what is absent from the shared cache; record model and targets in the run."""
    files = extract_targets(run)
    write_json(run.path / MODEL_FILE, run.model.identity)
    described: dict[str, Any] = {
        name: {
            "description": target.description,
            "variant": target.variant(),
            "port": target.port,
            "carries": target.carries,
            "computed_from": target.computed_from,
        }
        for name, target in targets(run).items()
    }
    write_json(run.path / "targets.json", described)
    # Weights that are missing are reported now, not after hours of drawing.
    image_encoder(run.config.evaluate.encoder, device=run.config.compute.device)
    return (MODEL_FILE, "targets.json", *files)


TARGETS = Stage(
    "features",
    "Targets",
    _extract,
    feature_settings,
    after=("data",),
    inputs=target_hashes,
    cost=targets_cost,
)
