import numpy as np
import pytest
from scipy.stats import t, ttest_1samp, ttest_rel

from vox2pix.evaluation.transfer import exceeds_p, mean_over_sets, ratio_over_sets

RNG = np.random.default_rng(3)


def test_one_set_is_the_t_interval_of_scipy() -> None:
    x = RNG.normal(0.4, 1, 12)
    expected = ttest_1samp(x, 0).confidence_interval()
    found = mean_over_sets([x])
    np.testing.assert_allclose(
        [found.value, found.ci_low, found.ci_high], [x.mean(), expected.low, expected.high]
    )


def test_sets_of_equal_size_are_a_regression_on_the_set() -> None:
    """The interval is that of the intercept after sets are subtracted: pooled spread, n - S."""
    x = [RNG.normal(m, 1, 6) for m in (0, 5, -3)]
    pooled = sum(((each - each.mean()) ** 2).sum() for each in x) / 15
    half = t.ppf(0.975, 15) * np.sqrt(pooled / 18)
    found = mean_over_sets(x)
    np.testing.assert_allclose(found.ci_high - found.value, half)
    np.testing.assert_allclose(found.value - found.ci_low, half)
    assert found.value == pytest.approx(np.concatenate(x).mean())


def test_an_end_of_fiellers_interval_is_where_the_test_says_005() -> None:
    below = RNG.normal(1, 0.3, 12)
    above = 0.5 * below + RNG.normal(0, 0.2, 12)
    found = ratio_over_sets([above], [below])
    assert found is not None
    assert found.ci_low < found.value < found.ci_high
    assert found.value == pytest.approx(above.mean() / below.mean())
    for end in (found.ci_low, found.ci_high):
        assert ttest_rel(above, end * below).pvalue == pytest.approx(0.05)


@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_no_ratio_to_what_may_be_nothing_or_is_negative(shift: float) -> None:
    below = np.linspace(-1, 1.2, 8) + shift
    assert mean_over_sets([below]).holds_zero
    assert ratio_over_sets([below + 1], [below]) is None


def test_no_ratio_of_two_ceilings() -> None:
    assert ratio_over_sets([np.full(5, 0.5)], [np.full(5, 0.5)]) is None


def test_exceeding_is_scipys_paired_test_in_one_set() -> None:
    a, b = RNG.normal(0.5, 1, 10), RNG.normal(0, 1, 10)
    expected = ttest_rel(a, b, alternative="greater").pvalue
    assert exceeds_p([a], [b]) == pytest.approx(expected)
    assert exceeds_p([b], [a]) == pytest.approx(1 - expected)


def test_equal_values_exceed_nothing() -> None:
    assert exceeds_p([np.ones(4)], [np.ones(4)]) == 1
    assert exceeds_p([np.ones(4)], [np.zeros(4)]) == 0


def test_unequal_stimuli_are_refused() -> None:
    with pytest.raises(ValueError, match="the same two or more stimuli"):
        ratio_over_sets([np.ones(4)], [np.ones(5)])
    with pytest.raises(ValueError, match="the same two or more stimuli"):
        mean_over_sets([np.ones(1)])
    with pytest.raises(ValueError, match="must be finite"):
        mean_over_sets([np.array([1, np.nan])])
