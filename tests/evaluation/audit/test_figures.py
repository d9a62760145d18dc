import numpy as np
import pytest

from vox2pix.evaluation.audit import Finding
from vox2pix.evaluation.audit.brain import (
    ceiling,
    diversity,
    held_out_clusters,
    null_control,
    swap,
    within_clusters,
)
from vox2pix.evaluation.audit.figures import audit_figure
from vox2pix.evaluation.audit.spectrum import collapse
from vox2pix.evaluation.audit.training import (
    copies,
    distance_dependence,
    near_duplicates,
    retrieval_baseline,
)

RNG = np.random.default_rng(0)
HIGH, LOW = RNG.uniform(0.7, 1, 30), RNG.uniform(0, 1, 30)
ROWS, IMAGES = RNG.normal(size=(30, 40)), RNG.random((30, 16, 16, 3)).astype(np.float32)

FINDINGS = [
    null_control("shuffled", HIGH, LOW),
    null_control("mean", HIGH, np.full(30, 0.5)),
    ceiling(HIGH, HIGH),
    retrieval_baseline(HIGH, LOW),
    distance_dependence(HIGH, LOW),
    held_out_clusters(HIGH, LOW),
    within_clusters(ROWS, ROWS, np.arange(30) % 3),
    diversity(ROWS, ROWS),
    diversity(ROWS, np.ones_like(ROWS)),
    collapse(ROWS, ROWS / 2),
    collapse(ROWS, np.ones_like(ROWS)),
    swap(HIGH, LOW, LOW, HIGH),
    swap(HIGH, HIGH, LOW, LOW),
    near_duplicates(IMAGES, IMAGES[:10]),
    copies(IMAGES[:, None].repeat(2, axis=1), IMAGES, IMAGES),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.name)
def test_every_finding_is_drawn_and_told(finding: Finding) -> None:
    figure, alt = audit_figure(finding)
    figure.draw_without_rendering()
    (panel,) = figure.axes
    assert panel.get_xlabel()
    assert alt.endswith(finding.sentence)
    assert not alt.startswith(finding.sentence)


def test_points_are_the_scores() -> None:
    (panel,) = audit_figure(retrieval_baseline(HIGH, LOW))[0].axes
    np.testing.assert_allclose(panel.collections[0].get_offsets(), np.column_stack([LOW, HIGH]))


def test_a_strip_stands_for_each_row_with_its_mean() -> None:
    (panel,) = audit_figure(null_control("noise", HIGH, LOW))[0].axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == ["real responses", "noise control"]
    means = [line.get_xdata()[0] for line in panel.lines[1:]]
    np.testing.assert_allclose(means, [HIGH.mean(), LOW.mean()])


def test_a_finding_without_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="no figure of 'mood'"):
        audit_figure(Finding("mood", "pass", "It is good.", 1.0))
