"""How decoders are made and what they are fitted on, by the settings of an experiment."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.conftest import Recorder, copied, experiment
from vox2pix.data import standardized_by_session
from vox2pix.decoding import RidgeDecoder
from vox2pix.errors import UserError
from vox2pix.pipeline.experiment import features, make_decoder
from vox2pix.pipeline.preconditions import require_subject
from vox2pix.pipeline.reconstruct import _3_decode
from vox2pix.store import RunFolder, load_arrays


@pytest.mark.parametrize("protocol", ["default", "takagi2023"])
@pytest.mark.parametrize("each", [True, False])
def test_one_penalty_for_all_targets_is_kept_under_every_protocol(protocol, each):
    config = experiment(protocol=protocol, decode={"alpha_per_target": each})
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 5))
    Y = X @ rng.standard_normal((5, 40)) + np.linspace(0, 9, 40) * rng.standard_normal((30, 40))
    decoder = make_decoder(config).set_params(alphas=[0.1, 10.0, 1000.0]).fit(X, Y)
    assert (len(np.unique(decoder.alpha_)) > 1) is each


def decoded_with(small_run, root, **decode):
    """Decode z again with other settings; return the run, its decoder and its predictions."""
    path = copied(small_run[0], root)
    config = experiment(decode={"z": ["early"]} | decode)
    made = replace(
        small_run[0], config=config, folder=RunFolder(path), reporter=Recorder(), _cached={}
    )
    _3_decode.DECODE.work(made)
    arrays = load_arrays(path / "decoders" / "z.safetensors")
    return made, RidgeDecoder.from_arrays(arrays), load_arrays(path / "decoded" / "z.safetensors")


@pytest.mark.parametrize("selection", ["gcv", "cv"])
@pytest.mark.parametrize("reliability", ["training", "published"])
def test_a_run_weights_voxels_by_reliability(small_run, tmp_path, selection, reliability):
    settings = {"reliability_powers": [0.5], "min_reliability": 0.1, "alphas": [30.0, 300.0]}
    run, decoder, found = decoded_with(
        small_run, tmp_path, selection=selection, reliability=reliability, **settings
    )
    subject = run.subject
    X, rows = subject.train.betas("early"), subject.train.stimulus_rows
    y = features(run, "z", subject.train.stimulus_ids).reshape(len(subject.train.stimulus_ids), -1)
    ncsnr = subject.voxels["ncsnr"].to_numpy()[subject.voxel_mask("early")]
    expected = RidgeDecoder(**settings | {"selection": selection})
    expected.fit(X, y, stimuli=rows, reliability=ncsnr if reliability == "published" else None)
    predicted = expected.predict(subject.test.mean_betas("early"))
    np.testing.assert_allclose(found["predicted"].reshape(predicted.shape), predicted, atol=1e-4)
    assert decoder.power_ == 0.5 and 0 < len(decoder.dropped_) < X.shape[1]
    np.testing.assert_allclose(decoder.reliability_, expected.reliability_, rtol=1e-5)
    assert (reliability == "published") == np.allclose(decoder.reliability_, ncsnr, atol=1e-6)
    assert any("weighted by reliability to the power 0.5" in line for line in run.reporter.lines)


def test_a_run_standardizes_sessions(small_run, tmp_path):
    run, decoder, found = decoded_with(small_run, tmp_path, standardize="session")
    scaled, rows = standardized_by_session(run.subject), run.subject.train.stimulus_rows
    y = features(run, "z", scaled.train.stimulus_ids).reshape(rows.max() + 1, -1)
    predicted, plain = (
        RidgeDecoder()
        .fit(subject.train.betas("early"), y, stimuli=rows)
        .predict(subject.test.mean_betas("early"))
        for subject in (scaled, run.subject)
    )
    np.testing.assert_allclose(found["predicted"].reshape(predicted.shape), predicted, atol=1e-4)
    assert np.abs(decoder.offset_).max() < 1e-4  # each session has the mean 0
    assert np.abs(plain - predicted).max() > 0.05


_ALIKE = "treats all voxels and sessions alike"


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ({"decode": {"reliability": "published"}}, "decode.reliability has no effect"),
        ({"decode": {"reliability_powers": [-1]}}, "reliability_powers"),
        ({"decode": {"reliability_powers": []}}, "reliability_powers"),
        (
            {"protocol": "takagi2023", "decode": {"reliability_powers": [1]}},
            _ALIKE,
        ),
        ({"protocol": "takagi2023", "decode": {"min_reliability": 0.1}}, _ALIKE),
        (
            {"protocol": "takagi2023", "decode": {"standardize": "session"}},
            _ALIKE,
        ),
    ],
)
def test_settings_of_voxels_without_effect_are_refused(tables, sentence):
    with pytest.raises(ValidationError, match=sentence):
        experiment(**tables)


@pytest.mark.parametrize("reliability", ["training", "published"])
def test_weights_without_a_known_reliability_are_refused_before_the_work(small_run, reliability):
    subject = small_run[0].subject
    once = replace(
        subject,
        trials=subject.trials.drop_duplicates("stimulus_id"),
        voxels=subject.voxels.assign(ncsnr=np.nan),
    )
    config = experiment(decode={"reliability_powers": [1], "reliability": reliability})
    sentence = {"training": "No training image of .* was shown twice", "published": "give no ncsnr"}
    with pytest.raises(UserError, match=sentence[reliability]):
        require_subject(config, "run", once, once.test.stimulus_ids)
