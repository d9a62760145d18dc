import numpy as np
import pytest

from pipeline.conftest import experiment
from vox2pix.pipeline.experiment import make_decoder


@pytest.mark.parametrize("protocol", ["default", "takagi2023"])
@pytest.mark.parametrize("each", [True, False])
def test_one_penalty_for_all_targets_is_kept_under_every_protocol(protocol, each):
    config = experiment(protocol=protocol, decode={"alpha_per_target": each})
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 5))
    Y = X @ rng.standard_normal((5, 40)) + np.linspace(0, 9, 40) * rng.standard_normal((30, 40))
    decoder = make_decoder(config).set_params(alphas=[0.1, 10.0, 1000.0]).fit(X, Y)
    assert (len(np.unique(decoder.alpha_)) > 1) is each
