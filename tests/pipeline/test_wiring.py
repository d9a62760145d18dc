"""What stages pass to each other, built again independently and compared field by field."""

import numpy as np
import pandas as pd
import pytest
from skimage.color import rgb2gray
from skimage.filters import sobel
from sklearn.cluster import KMeans
from sklearn.linear_model import Ridge

from vox2pix.encoding import permutation_p
from vox2pix.evaluation import image_encoder, two_way
from vox2pix.linear import pearson_r
from vox2pix.pipeline.drawings import donors, drawings_of, stored_images
from vox2pix.pipeline.encode import _5_fit
from vox2pix.pipeline.experiment import features, make_decoder
from vox2pix.pipeline.reconstruct import (
    _3_decode,
    _4_controls,
    _5_draw,
    _6_score,
    _7_audit,
    _8_report,
)
from vox2pix.seeds import seed_for
from vox2pix.store import load_arrays

nearest_rows = _8_report.compute

ROIS = {"z": "early", "c": "ventral"}


def rows_differ(values, tolerance):
    """Whether every row differs from every other by more than the tolerance."""
    rows = np.asarray(values, float).reshape(len(values), -1)
    distances = np.abs(rows[:, None] - rows[None]).max(axis=2)
    return distances[~np.eye(len(rows), dtype=bool)].min() > tolerance


def decoded(run, name):
    return load_arrays(run.path / "decoded" / f"{name}.safetensors")["predicted"]


@pytest.mark.parametrize("name", ["z", "c"])
def test_every_decoded_value_is_that_of_scikit_learn(small_run, name):
    run, _ = small_run
    train, test = run.subject.train, run.subject.test
    X = train.betas(ROIS[name]).astype(float)
    mean, deviation = X.mean(0), X.std(0)
    y = features(run, name, train.stimulus_ids).reshape(len(train.stimulus_ids), -1)
    alphas = load_arrays(run.path / "decoders" / f"{name}.safetensors")["alpha"]
    fitted = Ridge(alphas.astype(float)).fit((X - mean) / deviation, y[train.stimulus_rows])
    expected = fitted.predict((test.mean_betas(ROIS[name]) - mean) / deviation)
    found = decoded(run, name).reshape(len(expected), -1)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
    assert rows_differ(expected, 4e-3)


def test_blocks_of_a_decoder_are_joined_in_their_places():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((5, 2, 3)).astype(np.float32)
    whole = truth.reshape(5, 6) + 0.1 * rng.standard_normal((5, 6)).astype(np.float32)
    coef = rng.standard_normal((6, 4))
    parts = [
        (block, {"predicted": whole[:, slice(*block)], "coef": coef[slice(*block)],
                 "offset": np.arange(4.0)})
        for block in ((4, 6), (0, 4))
    ]  # fmt: skip
    scored, decoder = _3_decode.compute(truth, parts)
    np.testing.assert_array_equal(scored["predicted"], whole.reshape(truth.shape))
    np.testing.assert_array_equal(decoder["coef"], coef)
    np.testing.assert_array_equal(decoder["offset"], np.arange(4.0))
    r = [np.corrcoef(truth.reshape(5, 6)[:, k], whole[:, k])[0, 1] for k in range(6)]
    np.testing.assert_allclose(scored["r"], r, rtol=1e-4)


def test_null_responses_have_mean_and_deviation_of_every_voxel():
    rng = np.random.default_rng(0)
    train = 50 + 3 * rng.standard_normal((7, 4)).astype(np.float32)
    test = np.array([10, -5, 0, 300]) + np.array([1, 2, 4, 8]) * rng.standard_normal((2000, 4))
    found = _4_controls.compute(train, test.astype(np.float32), np.random.default_rng(1))
    np.testing.assert_allclose(found["mean"], [train.mean(0)], rtol=1e-6)
    np.testing.assert_allclose(found["noise"].mean(0), test.mean(0), atol=0.8)
    np.testing.assert_allclose(found["noise"].std(0), test.std(0), rtol=0.08)
    assert np.abs(np.corrcoef(found["noise"].T) - np.eye(4)).max() < 0.1


@pytest.mark.parametrize("name", ["z", "c"])
def test_controls_are_decoded_from_the_null_responses(small_run, name):
    from vox2pix.decoding import RidgeDecoder
    from vox2pix.seeds import rng_for

    run, _ = small_run
    arrays = load_arrays(run.path / "decoders" / f"{name}.safetensors")
    decoder = RidgeDecoder.from_arrays(arrays)
    train, test = (s.mean_betas(ROIS[name]) for s in (run.subject.train, run.subject.test))
    rng = rng_for(run.config.seed, "noise brain", name)
    noise = test.mean(0, dtype=float) + test.std(0, dtype=float) * rng.standard_normal(test.shape)
    stored = load_arrays(run.path / "decoded" / f"{name}-controls.safetensors")
    for control, responses in (("mean", train.mean(0)[None]), ("noise", noise)):
        expected = decoder.predict(responses.astype(np.float32)).reshape(stored[control].shape)
        np.testing.assert_allclose(stored[control], expected, rtol=1e-3, atol=1e-4)
    assert rows_differ(stored["noise"], 1e-3)


def test_each_source_gives_the_values_that_it_names(small_run):
    run, _ = small_run
    by_name = {d.name: d for d in drawings_of(run)}
    own = {name: decoded(run, name) for name in ("z", "c")}
    order = donors(8, run.config.seed)
    controls = {n: load_arrays(run.path / f"decoded/{n}-controls.safetensors") for n in own}
    expected = {
        "z+c": own,
        "true-z+c": {name: features(run, name, run.test_ids) for name in own},
        "shuffled": {name: values[order] for name, values in own.items()},
        "swapped": {"z": own["z"], "c": own["c"][order]},
        "mean-response": {n: np.repeat(controls[n]["mean"], 8, axis=0) for n in own},
        "noise-response": {n: controls[n]["noise"] for n in own},
        "held-out": {n: controls[n]["held_out"] for n in own},
    }
    for name, values in expected.items():
        found = _5_draw.values_of(run, by_name[name])
        assert list(found) == ["z", "c"]
        for target in found:
            np.testing.assert_array_equal(found[target], values[target], err_msg=name)
    assert all(rows_differ(values, 1e-6) for values in own.values())
    assert not (order == np.arange(8)).any()


def test_the_audit_receives_what_its_names_say(small_run):
    run, _ = small_run
    inputs = _7_audit.audit_inputs(run)
    table = pd.read_csv(run.path / "scores.csv", dtype={"stimulus_id": str})
    table = table.set_index("stimulus_id")

    def scores(condition, **row):
        chosen = table[table["condition"] == condition]
        for column, value in row.items():
            chosen = chosen[chosen[column] == value]
        return chosen.loc[list(run.test_ids), "score"].to_numpy()

    def identification(condition):
        return scores(condition, direction="original")

    expected = {
        "scores": identification("z+c"),
        "baseline_scores": identification("retrieval"),
        "ceiling_scores": identification("true-z+c"),
        "shuffled_scores": identification("shuffled"),
        "mean_scores": identification("mean-response"),
        "noise_scores": identification("noise-response"),
        "layout_scores": scores("z+c", metric="pixcorr"),
        "baseline_layout_scores": scores("retrieval", metric="pixcorr"),
        "true_features": features(run, "c", run.test_ids).reshape(8, -1),
        "predicted_features": decoded(run, "c").reshape(8, -1),
        "labels": load_arrays(run.path / "decoded/clusters.safetensors")["test"],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(inputs, name), values, err_msg=name)
    embed = image_encoder(run.config.evaluate.encoder, device="cpu")
    stored = drawn(run)
    for field, name in (("embeddings", "z+c"), ("held_out_embeddings", "held-out")):
        images = stored[name].reshape(-1, *stored[name].shape[2:]).astype(np.float32)
        rows = embed(images).reshape(8, -1, embed(images).shape[-1])
        np.testing.assert_allclose(getattr(inputs, field), rows, atol=1e-4, err_msg=field)
    assert not np.allclose(inputs.embeddings[:, :1], inputs.held_out_embeddings, atol=1e-2)
    assert not np.allclose(inputs.mean_scores, inputs.shuffled_scores)


def test_swapped_images_are_compared_with_both_donors():
    rng = np.random.default_rng(0)
    layouts, contents = (tuple(rng.standard_normal((3, 4, 30))) for _ in range(2))
    layouts[0][2] = 1.0  # a uniform image has no edges
    found = _7_audit.compute(layouts, contents)
    for kind, (swapped, of_layout, of_content) in (("layout", layouts), ("content", contents)):
        for donor, rows in (("layout", of_layout), ("content", of_content)):
            with np.errstate(invalid="ignore"):
                r = [np.corrcoef(a, b)[0, 1] for a, b in zip(swapped, rows, strict=True)]
            np.testing.assert_allclose(
                found[f"{kind}_to_{donor}_donor"], np.nan_to_num(r), atol=1e-6
            )


def test_retrieval_scores_every_direction_against_a_loop():
    rng = np.random.default_rng(2)
    truth = rng.standard_normal((9, 20)).astype(np.float32)
    values = truth + 5 * rng.standard_normal((9, 20)).astype(np.float32)
    cosine = truth @ values.T / np.outer(*(np.linalg.norm(x, axis=1) for x in (truth, values)))
    rates = {}
    for record in _6_score.compute(truth, values, "c", "subj01", "default"):
        k = int(record.metric.removeprefix("top-"))
        table = cosine if record.direction == "original" else cosine.T
        rates[k, record.direction] = np.mean([i in np.argsort(-table[i])[:k] for i in range(9)])
        assert record.value == pytest.approx(rates[k, record.direction])
        assert record.chance == pytest.approx(k / 9)
    assert len(rates) == 4
    assert all(rates[k, "original"] != rates[k, "reconstruction"] for k in (1, 5))


def test_the_nearest_training_stimuli_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    test, training = rng.standard_normal((4, 12)), 5 + rng.standard_normal((10, 12))
    test += 5
    rows, distances = nearest_rows(test.astype(np.float32), training.astype(np.float32))
    centred = [x - training.mean(0) for x in (test, training)]
    r = np.array([[np.corrcoef(a, b)[0, 1] for b in centred[1]] for a in centred[0]])
    np.testing.assert_array_equal(rows, np.argsort(-r, axis=1)[:, :3])
    np.testing.assert_allclose(distances, 1 - np.sort(r, axis=1)[:, :-4:-1], atol=1e-5)


def test_a_permutation_keeps_blocks_together():
    from vox2pix.config import EncodeConfig
    from vox2pix.encoding import EncodingModel

    rng = np.random.default_rng(0)
    X_train, X_test = rng.standard_normal((30, 4)), rng.standard_normal((24, 4))
    weights = rng.standard_normal((4, 6))
    y_train, y_test = (
        0.2 * x @ weights + rng.standard_normal((len(x), 6)) for x in (X_train, X_test)
    )
    config = EncodeConfig(null="permutation", permutations=100)
    arrays = [X_train, y_train, X_test, y_test]
    blocks, seed = np.repeat(np.arange(6), 4), 3
    found = _5_fit.compute(EncodingModel([1.0]), *arrays, np.ones(30, int), config, blocks, seed)
    predictions = EncodingModel([1.0]).fit(X_train, y_train).predict(X_test)
    np.testing.assert_allclose(found["r"], pearson_r(y_test, predictions), atol=1e-6)
    expected = permutation_p(y_test, predictions, blocks, n_permutations=100, seed=seed)
    np.testing.assert_allclose(found["p"], expected)
    single = permutation_p(y_test, predictions, np.arange(24), n_permutations=100, seed=seed)
    assert not np.allclose(expected, single)


def test_similar_stimuli_share_a_block():
    rng = np.random.default_rng(0)
    centres = 10 * rng.standard_normal((12, 5))
    rows = np.repeat(centres, 5, axis=0) + 0.1 * rng.standard_normal((60, 5))
    labels = _5_fit.similar_blocks(rows.astype(np.float32), 0)
    assert [len(set(labels[i : i + 5])) for i in range(0, 60, 5)] == [1] * 12
    assert len(set(labels)) == 12


def drawn(run):
    """Return the stored images of every drawing, float in [0, 1], by its name."""
    return {
        d.name: np.concatenate([s.read(k) for k in range(s.n_shards)]).astype(np.float32) / 255
        for d in drawings_of(run)
        if (s := stored_images(run, d)) is not None
    }


def test_clusters_are_those_of_the_true_content(small_run):
    run, _ = small_run
    rows = features(run, "c", run.stimulus_ids).reshape(len(run.stimulus_ids), -1)
    state = seed_for(run.config.seed, "clusters") % 2**32
    labels = KMeans(run.config.audit.clusters, n_init=10, random_state=state).fit_predict(rows)
    stored = load_arrays(run.path / "decoded/clusters.safetensors")
    n_train = len(run.subject.train.stimulus_ids)
    np.testing.assert_array_equal(stored["train"], labels[:n_train])
    np.testing.assert_array_equal(stored["test"], labels[n_train:])
    left = [np.count_nonzero(labels[:n_train] != k) for k in set(labels[n_train:])]
    assert stored["n_left"] == [min(left)]
    assert len(set(labels[n_train:])) > 1


@pytest.mark.parametrize("name", ["z", "c"])
def test_every_held_out_value_is_decoded_without_its_cluster(small_run, name):
    run, _ = small_run
    train, test = run.subject.train, run.subject.test
    labels = load_arrays(run.path / "decoded/clusters.safetensors")
    stored = load_arrays(run.path / f"decoded/{name}-controls.safetensors")["held_out"]
    y = features(run, name, train.stimulus_ids).reshape(len(train.stimulus_ids), -1)
    X, responses = train.betas(ROIS[name]), test.mean_betas(ROIS[name])
    expected = np.empty((8, y.shape[1]))
    for row, cluster in enumerate(labels["test"]):
        kept = labels["train"][train.stimulus_rows] != cluster
        stimuli, rows = np.unique(train.stimulus_rows[kept], return_inverse=True)
        decoder = make_decoder(run.config).fit(X[kept], y[stimuli], stimuli=rows)
        expected[row] = decoder.predict(responses[row : row + 1])[0]
    np.testing.assert_allclose(stored.reshape(8, -1), expected, rtol=1e-3, atol=1e-3)
    assert rows_differ(expected, 2e-3)


def test_every_image_is_scored_with_its_own_original(small_run):
    run, _ = small_run
    table = pd.read_csv(run.path / "scores.csv", dtype={"stimulus_id": str})
    embed = image_encoder(run.config.evaluate.encoder, device="cpu")
    scored = drawn(run)
    del scored["swapped"], scored["held-out"]
    assert set(table["condition"]) == {*scored, "retrieval"}
    for name, images in scored.items():
        n, samples, size = images.shape[:3]
        originals = run.subject.images(run.test_ids, size=size)
        r = [
            np.mean([np.corrcoef(images[i, k].ravel(), originals[i].ravel())[0, 1]
                     for k in range(samples)])
            for i in range(n)
        ]  # fmt: skip
        of = table[table["condition"] == name].set_index("stimulus_id")
        found = of[of["metric"] == "pixcorr"].loc[list(run.test_ids), "score"]
        np.testing.assert_allclose(found, np.nan_to_num(r), atol=1e-5, err_msg=name)
        rows = embed(images.reshape(-1, *images.shape[2:])).reshape(n, samples, -1)
        for direction in ("original", "reconstruction"):
            found = of[of["direction"] == direction].loc[list(run.test_ids), "score"]
            expected = two_way(embed(originals), rows, direction)
            np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)
    assert rows_differ(scored["z+c"], 0.02)


def test_the_audit_compares_swapped_images_with_the_donors_of_layout_and_content(small_run):
    run, _ = small_run
    order = donors(8, run.config.seed)
    embed = image_encoder(run.config.evaluate.encoder, device="cpu")
    swapped = drawn(run)["swapped"][:, 0]
    originals = run.subject.images(run.test_ids, size=swapped.shape[1])

    def edges(images):
        return np.stack([sobel(rgb2gray(image)).ravel() for image in images])

    expected = {}
    for kind, of in (("layout", edges), ("content", embed)):
        for donor, images in (("layout", originals), ("content", originals[order])):
            pairs = zip(of(swapped), of(images), strict=True)
            expected[f"{kind}_to_{donor}_donor"] = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    found = _7_audit.audit_inputs(run).swap_similarities
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-4, err_msg=name)


def test_the_sheet_shows_the_best_first_each_beside_its_own_images(small_run, monkeypatch):
    run, _ = small_run
    given = {}
    monkeypatch.setattr(
        _8_report,
        "contact_sheet",
        lambda columns, ids, **how: given.update(columns=columns, ids=ids, **how),
    )
    _8_report.sheet_of(run, per_group=2)
    table = pd.read_csv(run.path / "scores.csv", dtype={"stimulus_id": str})
    table = table[table["condition"] == "z+c"].set_index("stimulus_id")
    scores = table[table["direction"] == "original"]["score"]
    pixcorr = table[table["metric"] == "pixcorr"]["score"]
    ranked = sorted(run.test_ids, key=lambda i: (-scores[i], -pixcorr[i]))
    expected = [*ranked[:2], *ranked[3:5], *ranked[6:]]
    assert given["ids"] == expected
    assert given["notes"] == [f"{100 * scores[i]:.0f} %" for i in expected]
    assert given["rows"].groups == ("best",) * 2 + ("median",) * 2 + ("worst",) * 2
    rows = [run.test_ids.index(i) for i in expected]
    images = drawn(run)
    assert list(given["columns"]) == ["seen", "z-decode", "z", "c", "z+c", "true-z+c"]
    for name, column in given["columns"].items():
        of = run.subject.images(run.test_ids, size=64) if name == "seen" else images[name][:, 0]
        np.testing.assert_allclose(column, of[rows], atol=1e-6, err_msg=name)
    assert given["captions"] == [own[0] for own in run.subject.captions(expected)]
