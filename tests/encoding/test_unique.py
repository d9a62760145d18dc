import numpy as np
import pytest
from himalaya.ridge import ColumnTransformerNoStack, GroupRidgeCV

from vox2pix.encoding import EncodingModel, unique_variance
from vox2pix.errors import UserError
from vox2pix.linear import r2_score


def _correlated(n_train=500, n_test=1500, p=12, n_voxels=40, rho=0.6, seed=0):
    """Spaces a and b whose features correlate by rho, responses, and the true shares.

    With y = a u + b v + noise of variance 1, the best linear model of a alone has weights
    u + rho v, of b alone v + rho u.
    """
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    a = rng.standard_normal((n, p))
    b = rho * a + np.sqrt(1 - rho**2) * rng.standard_normal((n, p))
    u, v = rng.standard_normal((2, p, n_voxels)) / np.sqrt(p)
    u *= rng.uniform(0, 1.5, n_voxels)
    v *= rng.uniform(0, 1.5, n_voxels)
    Y = a @ u + b @ v + rng.standard_normal((n, n_voxels))
    joint = (u**2 + v**2 + 2 * rho * u * v).sum(axis=0)
    total = joint + 1
    truth = {
        "joint": joint / total,
        "a": ((u + rho * v) ** 2).sum(axis=0) / total,
        "b": ((v + rho * u) ** 2).sum(axis=0) / total,
    }
    # Neither the scale of a space nor its mean may matter.
    a, b = 100 * a + 3, 0.01 * b @ np.linalg.qr(rng.standard_normal((p, p)))[0]
    spaces = {"a": (a[:n_train], a[n_train:]), "b": (b[:n_train], b[n_train:])}
    return spaces, Y[:n_train], Y[n_train:], truth


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_known_shares_are_recovered(rho):
    spaces, Y, Y_test, truth = _correlated(rho=rho)
    parts = unique_variance(spaces, Y, Y_test)
    for name, other in (("a", "b"), ("b", "a")):
        unique = truth["joint"] - truth[other]
        assert np.abs(parts.unique[name] - unique).mean() < 0.05
        assert abs((parts.unique[name] - unique).mean()) < 0.025
        assert np.abs(parts.alone[name] - truth[name]).mean() < 0.05
    shared = truth["a"] + truth["b"] - truth["joint"]
    assert np.abs(parts.shared - shared).mean() < 0.05
    assert np.abs(parts.joint - truth["joint"]).mean() < 0.05
    # The truth is not so flat that a constant would have passed.
    assert np.abs(shared - shared.mean()).mean() > 0.03 or rho == 0


def test_the_parts_add_up():
    spaces, Y, Y_test, _ = _correlated(n_voxels=6)
    parts = unique_variance(spaces, Y, Y_test)
    np.testing.assert_allclose(parts.unique["a"], parts.joint - parts.alone["b"])
    np.testing.assert_allclose(
        parts.shared, parts.alone["a"] + parts.alone["b"] - parts.joint, atol=1e-12
    )


def test_a_space_of_many_noise_features_costs_the_joint_model_little():
    rng = np.random.default_rng(0)
    a, noise = rng.standard_normal((700, 10)), rng.standard_normal((700, 400))
    Y = a @ rng.standard_normal((10, 30)) / 3 + rng.standard_normal((700, 30))
    spaces = {"a": (a[:200], a[200:]), "noise": (noise[:200], noise[200:])}
    parts = unique_variance(spaces, Y[:200], Y[200:])
    assert abs(parts.unique["noise"].mean()) < 0.02
    # One penalty for both, as in plain ridge, pays for every feature of noise.
    together = np.hstack([a, noise])
    plain = EncodingModel().fit_then_predict(together[:200], Y[:200], together[200:])
    assert parts.joint.mean() > r2_score(Y[200:], plain).mean() + 0.05


def test_the_joint_model_is_as_good_as_himalayas():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((500, 15)), rng.standard_normal((500, 150))
    Y = a @ rng.standard_normal((15, 30)) / 4
    Y += 0.5 * b @ rng.standard_normal((150, 30)) / 12 + rng.standard_normal((500, 30))
    spaces = {"a": (a[:250], a[250:]), "b": (b[:250], b[250:])}
    ours = unique_variance(spaces, Y[:250], Y[250:]).joint
    X = np.hstack([a, b])
    bands = {"a": slice(0, 15), "b": slice(15, 165)}
    gate = ColumnTransformerNoStack([(name, "passthrough", band) for name, band in bands.items()])
    model = GroupRidgeCV(
        groups="input",
        random_state=0,
        fit_intercept=True,
        solver_params={
            "n_iter": 8,
            "alphas": np.logspace(-2, 5, 15),
            "progress_bar": False,
            "warn": False,
        },
    )
    model.fit(gate.fit_transform(X[:250]), Y[:250])
    theirs = r2_score(Y[250:], np.asarray(model.predict(gate.transform(X[250:]))))
    assert abs(ours.mean() - theirs.mean()) < 0.02


def test_three_spaces_each_keep_their_own():
    rng = np.random.default_rng(0)
    common = rng.standard_normal((900, 4))
    own = {name: rng.standard_normal((900, 4)) for name in "abc"}
    shares = {"a": 0.1, "b": 0.2, "c": 0.3, "common": 0.2}
    Y = rng.standard_normal((900, 30)) * np.sqrt(0.2)
    for name, part in (own | {"common": common}).items():
        weights = rng.standard_normal((4, 30))
        Y += np.sqrt(shares[name]) * part @ (weights / np.linalg.norm(weights, axis=0))
    spaces = {name: tuple(np.split(np.hstack([part, common]), [400])) for name, part in own.items()}
    parts = unique_variance(spaces, Y[:400], Y[400:], levels=(0, 0.1, 1))
    for name in "abc":
        assert parts.unique[name].mean() == pytest.approx(shares[name], abs=0.05)
        assert parts.alone[name].mean() == pytest.approx(shares[name] + 0.2, abs=0.05)
    assert parts.shared.mean() == pytest.approx(0.2, abs=0.05)


def test_weights_and_settings_reach_the_models():
    spaces, Y, Y_test, _ = _correlated(n_train=80, n_test=40, n_voxels=3)
    weights = np.random.default_rng(1).integers(1, 4, 80)
    model = EncodingModel(alphas=[0.5], selection="cv", n_folds=4)
    parts = unique_variance(
        spaces,
        Y,
        Y_test,
        model=model,
        levels=(0, 1),
        sample_weight=weights,
        groups=np.arange(80) // 4,
    )
    X, X_test = spaces["a"]
    mean = np.average(X, axis=0, weights=weights)
    length = np.sqrt(np.average(((X - mean) ** 2).sum(axis=1), weights=weights))
    predicted = EncodingModel([0.5]).fit_then_predict(
        (X - mean) / length, Y, (X_test - mean) / length, sample_weight=weights
    )
    np.testing.assert_allclose(parts.alone["a"], r2_score(Y_test, predicted))
    assert not hasattr(model, "alpha_")


def test_a_constant_voxel_is_nan():
    spaces, Y, Y_test, _ = _correlated(n_train=60, n_test=30, n_voxels=3)
    Y[:, 1] = Y_test[:, 1] = 0.1
    parts = unique_variance(spaces, Y, Y_test)
    for values in (parts.joint, parts.shared, parts.unique["a"], parts.alone["b"]):
        assert np.isnan(values[1]) and np.isfinite(values[[0, 2]]).all()


def test_spaces_that_do_not_match_are_refused():
    spaces, Y, Y_test, _ = _correlated(n_train=60, n_test=30, n_voxels=3)
    with pytest.raises(UserError, match="at least two feature spaces"):
        unique_variance({"a": spaces["a"]}, Y, Y_test)
    cut = spaces | {"b": (spaces["b"][0][1:], spaces["b"][1])}
    with pytest.raises(UserError, match=r"training stimuli \(60 in a, 59 in b\)"):
        unique_variance(cut, Y, Y_test)
    cut = spaces | {"b": (spaces["b"][0], spaces["b"][1][1:])}
    with pytest.raises(UserError, match=r"test stimuli \(30 in a, 29 in b\)"):
        unique_variance(cut, Y, Y_test)
    with pytest.raises(ValueError, match="give 0, 1 and values between"):
        unique_variance(spaces, Y, Y_test, levels=(0.1, 1))


def test_responses_are_read_a_block_of_voxels_at_a_time():
    class Columns:
        """Replaces responses on disk; records how many voxels were read at once."""

        def __init__(self, values):
            self.values, self.shape, self.widths = values, values.shape, set()

        def __getitem__(self, key):
            part = self.values[key]
            self.widths.add(part.shape[1])
            return part

    spaces, Y, Y_test, _ = _correlated(n_train=80, n_test=40, n_voxels=7)
    whole = unique_variance(spaces, Y, Y_test)
    train, test = Columns(Y), Columns(Y_test)
    parts = unique_variance(spaces, train, test, model=EncodingModel(target_block=3))
    assert train.widths == test.widths == {3, 1}
    np.testing.assert_allclose(parts.joint, whole.joint)
    for name in "ab":
        np.testing.assert_allclose(parts.alone[name], whole.alone[name])
        np.testing.assert_allclose(parts.gains[name], whole.gains[name], atol=1e-6)
        np.testing.assert_allclose(parts.gains[name].sum(axis=0), parts.unique[name], atol=1e-5)
