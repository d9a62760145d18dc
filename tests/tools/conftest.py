"""A pipeline folder after one step of each stage, on few scenes."""

import pytest

from tools.phantom_model import autoencoder, detector, text_tower, unet
from tools.phantom_model import train as training

SMALL = (
    (autoencoder, "BATCH", 4),
    (text_tower, "PAIRS", 4),
    (text_tower, "MEANS", 2),
    (text_tower, "CORPUS_SCENES", 200),
    (unet, "BATCH", 4),
    (detector, "BATCH", 4),
)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Return the folder that the stages leave, with the detector trained beside them."""
    out = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in SMALL:
            patch.setattr(module, name, value)
        for stage in training.STAGES:
            training.train_stage(stage, out, steps=1, decay_steps=1, n_scenes=24)
    return out
