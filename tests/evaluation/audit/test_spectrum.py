import numpy as np
import pytest
from scipy.stats import entropy

from vox2pix.evaluation.audit import UnanswerableError
from vox2pix.evaluation.audit.spectrum import (
    collapse,
    effective_rank,
    participation_ratio,
    singular_values,
)


@pytest.mark.parametrize("shape", [(20, 7), (7, 20), (9, 9)])
def test_singular_values_are_numpys(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(5, 1, shape)
    expected = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(singular_values(features), expected, atol=1e-6)


def test_ranks_by_hand() -> None:
    for rank in (effective_rank, participation_ratio):
        assert rank([2.0, 2, 2, 2, 0]) == pytest.approx(4)
        assert rank([3.0, 0, 0]) == pytest.approx(1)
        assert rank([0.0, 0]) == 0
    assert effective_rank([3.0, 1]) == pytest.approx(np.exp(entropy([0.75, 0.25])))
    assert participation_ratio([3.0, 1]) == pytest.approx((9 + 1) ** 2 / (81 + 1))


def features(n_directions: int = 30, n: int = 60, d: int = 100, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_directions)) @ rng.normal(size=(n_directions, d))


def test_shrinkage_is_not_collapse() -> None:
    true = features()
    found = collapse(true, 0.5 * true + 3)
    assert found.verdict == "pass"
    assert found.value == pytest.approx(1)
    assert found.references["variance ratio"] == pytest.approx(0.25)
    ratio = found.references["participation ratio, predicted"]
    assert ratio == pytest.approx(found.references["participation ratio, true"])


@pytest.mark.parametrize(
    ("predicted", "verdict", "meaning"),
    [
        (features(2, seed=1), "fail", "collapsed"),
        (features(4, seed=1), "warn", "few directions"),
        (0.01 * features(), "fail", "collapsed"),
        (0.15 * features(), "warn", "near their mean"),
        (1.5 * features(), "warn", "follow noise"),
        (np.ones((60, 100)), "fail", "collapsed"),
    ],
)
def test_collapse_is_seen(predicted: np.ndarray, verdict: str, meaning: str) -> None:
    found = collapse(features(), predicted)
    assert found.verdict == verdict
    assert meaning in found.sentence


def test_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(UnanswerableError, match="true target does not vary"):
        collapse(np.ones((5, 4)), features(n=5, d=4))
    with pytest.raises(UnanswerableError, match="2 test images are too few"):
        collapse(features(n=2), features(n=2))
    with pytest.raises(ValueError, match="one shape"):
        collapse(features(), features()[:, :3])
    with pytest.raises(ValueError, match="finite"):
        collapse(features(), np.full((60, 100), np.nan))
