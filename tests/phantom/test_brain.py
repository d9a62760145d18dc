"""Layouts and subjects: counts, places, differences."""

import numpy as np
import pytest
from scipy import ndimage

from vox2pix.errors import UserError
from vox2pix.phantom import brain
from vox2pix.phantom.early import VISUAL_AREAS
from vox2pix.phantom.higher import scene_content
from vox2pix.phantom.scenes import scene
from vox2pix.seeds import rng_for

CONTENT = scene_content([scene(index, 1) for index in range(40)])


def person(subject=1, space="func1pt8mm", n_early=200, n_ventral=300, seed=0):
    return brain.simulate_brain(subject, space, n_early, n_ventral, CONTENT, seed)


@pytest.fixture(scope="module")
def surface():
    return person(space="fsaverage5", n_early=1500, n_ventral=1500)


@pytest.mark.parametrize(("n_early", "n_ventral"), [(20, 20), (201, 300), (1500, 1500)])
def test_volume_holds_the_counts_asked_for(n_early, n_ventral):
    counts = brain.stream_counts(n_early, n_ventral)
    layout = brain.volume_layout(counts, rng_for(1, "layout"))
    for name, label in brain.STREAMS.items():
        assert (layout.stream == label).sum() == counts[name]
    assert counts["early"] == n_early and counts["ventral"] == n_ventral
    assert (layout.index >= 1).all() and (layout.index < np.array(layout.shape) - 1).all()
    assert len(np.unique(layout.index, axis=0)) == layout.n_voxels
    expected = layout.index @ layout.affine[:3, :3].T + layout.affine[:3, 3]
    np.testing.assert_allclose(layout.position, expected, rtol=1e-5, atol=1e-4)
    assert (np.diag(layout.affine)[:3] == 1.8).all()


def test_volume_is_compact_with_streams_in_one_piece_a_hemisphere():
    layout = brain.volume_layout(brain.stream_counts(1500, 1500), rng_for(2, "layout"))
    assert np.prod(layout.shape) < 25_000
    volume = np.zeros(layout.shape, int)
    volume[tuple(layout.index.T)] = layout.stream
    for label in (brain.STREAMS["early"], brain.STREAMS["ventral"]):
        sizes = np.bincount(ndimage.label(volume == label)[0].ravel())[1:]
        assert np.sort(sizes)[-2:].sum() >= 0.98 * (volume == label).sum()
    left = layout.hemisphere == 0
    assert (layout.position[left, 0] < 0).all() and (layout.position[~left, 0] > 0).all()
    middle = {
        name: layout.position[layout.stream == label].mean(axis=0)
        for name, label in brain.STREAMS.items()
    }
    assert middle["early"][1] < middle["ventral"][1]
    assert middle["ventral"][2] < middle["parietal"][2]


def test_smoothing_is_local_and_of_unit_length():
    layout = brain.volume_layout(brain.stream_counts(200, 200), rng_for(3, "layout"))
    lengths = np.asarray(layout.smoothing.multiply(layout.smoothing).sum(axis=1)).ravel()
    np.testing.assert_allclose(lengths, 1, rtol=1e-4)
    rows, columns = layout.smoothing.nonzero()
    distance = np.linalg.norm(layout.position[rows] - layout.position[columns], axis=1)
    assert distance.max() <= 2 * brain.SMOOTHING_SD + 1e-3
    middle = int(np.argmax(np.diff(layout.smoothing.indptr)))
    row = layout.smoothing[middle]
    apart = np.linalg.norm(layout.position[row.indices] - layout.position[middle], axis=1)
    ratio = row.data / row.data[apart.argmin()]
    np.testing.assert_allclose(ratio, np.exp(-0.5 * (apart / 2.4) ** 2), rtol=1e-3)


def test_surface_streams_are_where_they_belong(surface):
    layout = surface.layout
    assert layout.shape == (10242, 10242) and layout.n_voxels == 20484
    counts = brain.stream_counts(1500, 1500)
    middle = {}
    for name, label in brain.STREAMS.items():
        here = layout.stream == label
        assert here.sum() == counts[name]
        left = layout.position[here & (layout.hemisphere == 0)].mean(axis=0)
        right = layout.position[here & (layout.hemisphere == 1)].mean(axis=0)
        np.testing.assert_allclose(left * (-1, 1, 1), right, atol=6)
        middle[name] = left
    # Millimetres of fsaverage: behind, on the underside, on the outside, on top.
    assert middle["early"][1] < -75 and abs(middle["early"][0]) < 25
    assert middle["ventral"][2] < -5 and -70 < middle["ventral"][1] < -40
    assert middle["lateral"][0] < -40 and middle["parietal"][2] > 35


@pytest.mark.parametrize(("n_early", "n_ventral"), [(12_000, 12_000), (30_000, 20), (20, 20_000)])
def test_streams_that_do_not_fit_on_the_surface(n_early, n_ventral):
    with pytest.raises(UserError, match=rf"early \({n_early}\).* of fsaverage5, which has 10242"):
        brain.surface_layout(brain.stream_counts(n_early, n_ventral))


def test_a_hemisphere_can_be_full():
    counts = dict.fromkeys(brain.STREAMS, 2) | {"early": 2 * 10_242 - 12}
    stream = brain.surface_layout(counts).stream
    for name, label in brain.STREAMS.items():
        assert (stream == label).sum() == counts[name]
    with pytest.raises(UserError, match="take 10243 vertices of a hemisphere"):
        brain.surface_layout(counts | {"early": 2 * 10_242 - 11})


def test_surface_noise_spreads_over_the_mesh(surface):
    smoothing = surface.layout.smoothing
    rows, columns = smoothing.nonzero()
    assert (surface.layout.hemisphere[rows] == surface.layout.hemisphere[columns]).all()
    per_vertex = np.diff(smoothing.indptr)
    assert 30 <= np.median(per_vertex) <= 40  # a hexagonal disc three steps wide has 37
    np.testing.assert_allclose(
        np.asarray(smoothing.multiply(smoothing).sum(axis=1)).ravel(), 1, rtol=1e-4
    )


def test_visual_areas_fill_early_cortex_alone(surface):
    for simulated in (surface, person()):
        area = simulated.visual_area()
        in_early = simulated.layout.stream == brain.STREAMS["early"]
        assert (area[in_early] > 0).all() and not area[~in_early].any()
        assert set(area[in_early]) == set(VISUAL_AREAS.values())


def test_subjects_differ_and_seeds_repeat():
    one, again, two = person(1), person(1), person(2)
    np.testing.assert_array_equal(one.ncsnr, again.ncsnr)
    np.testing.assert_array_equal(one.layout.index, again.layout.index)
    assert len(one.early) == 200 and len(two.early) != 200
    assert one.reliability == 1 and two.reliability != 1
    assert one.layout.shape != two.layout.shape or not np.array_equal(
        one.layout.index, two.layout.index
    )
    assert not np.array_equal(person(1, seed=1).ncsnr, one.ncsnr)


def test_surface_labels_are_common_to_subjects(surface):
    other = person(2, space="fsaverage5", n_early=1500, n_ventral=1500)
    np.testing.assert_array_equal(other.layout.stream, surface.layout.stream)
    np.testing.assert_array_equal(other.visual_area(), surface.visual_area())
    assert not np.array_equal(other.fields.x, surface.fields.x)


def test_responses_have_the_stated_spread():
    simulated = person()
    rng = rng_for(9, "drives")
    linear, energy = rng.normal(size=(2, 40, len(simulated.early))).astype(np.float32)
    responses = simulated.responses(linear, energy, CONTENT)
    np.testing.assert_allclose(responses.mean(axis=0), simulated.baseline, atol=1e-3)
    np.testing.assert_allclose(responses.std(axis=0), simulated.signal_sd, rtol=1e-3, atol=1e-6)
    silent = simulated.layout.stream == 0
    assert silent.any() and not responses[:, silent].any()
    np.testing.assert_allclose(
        simulated.signal_sd, simulated.ncsnr * simulated.noise.sd, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(simulated.responsive, np.flatnonzero(~silent))
