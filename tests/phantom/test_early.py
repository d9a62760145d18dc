"""Receptive fields and the energy model against gratings, discs and closed forms."""

import numpy as np
import pytest

from vox2pix.phantom import early
from vox2pix.seeds import rng_for

DEGREES = (np.arange(early.IMAGE_SIZE) + 0.5) * early.FIELD_OF_VIEW / early.IMAGE_SIZE
X, DOWN = np.meshgrid(DEGREES - early.FIELD_OF_VIEW / 2, DEGREES - early.FIELD_OF_VIEW / 2)
UP = -DOWN


def grating(angle, cycles, phase=0.0):
    """Draw bars that run along `angle` degrees, counter-clockwise from horizontal."""
    normal = np.deg2rad(angle + 90)
    wave = np.sin(2 * np.pi * cycles * (X * np.cos(normal) + UP * np.sin(normal)) + phase)
    return np.repeat((0.5 + 0.4 * wave)[None, :, :, None], 3, axis=3).astype(np.float32)


def centre(maps):
    """Average maps over the middle, away from the borders."""
    square = maps.reshape(len(early.CHANNELS), early.GRID, early.GRID)
    return square[:, 10:22, 10:22].mean(axis=(1, 2))


def placed(n_voxels=800):
    rng = rng_for(3, "positions")
    position = rng.uniform((-30, -100, -15), (30, -60, 15), (n_voxels, 3)).astype(np.float32)
    hemisphere = (position[:, 0] > 0).astype(np.int8)
    return position, hemisphere, early.place_receptive_fields(position, hemisphere, rng)


@pytest.mark.parametrize("cycles", early.FREQUENCIES)
@pytest.mark.parametrize("angle", early.ORIENTATIONS)
def test_energy_prefers_its_own_grating(angle, cycles):
    maps = centre(early.channel_maps(grating(angle, cycles))[0])
    energies = maps[len(early.LINEAR_CHANNELS) : -1]
    best = early.ENERGY_CHANNELS[int(np.argmax(energies))]
    assert best == f"energy {angle:g} deg {cycles:g} cpd"
    # The amplitude of a matched quadrature pair is that of the grating.
    assert energies.max() == pytest.approx(0.4, rel=0.1)


def test_energy_does_not_depend_on_phase():
    one, other = (centre(early.channel_maps(grating(45, 1.0, p))[0]) for p in (0.0, 1.1))
    strong = one > 0.1
    np.testing.assert_allclose(one[strong], other[strong], rtol=0.03)


def test_plain_colour_drives_colour_channels_alone():
    image = np.broadcast_to(np.array([0.9, 0.3, 0.2]), (1, 64, 64, 3)).astype(np.float32)
    maps = dict(zip(early.CHANNELS, early.channel_maps(image)[0], strict=True))
    np.testing.assert_allclose(maps["luminance"], 1.4 / 3, rtol=1e-5)
    np.testing.assert_allclose(maps["L-M"], 0.6, rtol=1e-5)
    np.testing.assert_allclose(maps["S"], 0.2 - 0.6, rtol=1e-5)
    for name in early.ENERGY_CHANNELS:
        np.testing.assert_allclose(maps[name], 0, atol=1e-3)


def test_maps_refuse_another_size():
    with pytest.raises(ValueError, match=r"expected \(n, 64, 64, 3\)"):
        early.channel_maps(np.zeros((2, 32, 32, 3), np.float32))


def test_gaussians_stand_where_the_fields_are():
    _, _, fields = placed()
    pooled = fields.gaussians()
    np.testing.assert_allclose(pooled.sum(axis=1), 1, rtol=1e-4)
    step = early.FIELD_OF_VIEW / early.GRID
    along = (np.arange(early.GRID) + 0.5) * step - early.FIELD_OF_VIEW / 2
    grid = pooled.reshape(-1, early.GRID, early.GRID)
    inside = (fields.eccentricity < 1) & (fields.sigma < 0.8)
    assert inside.sum() > 50
    mean_x = (grid.sum(axis=1) * along).sum(axis=1)
    mean_y = -(grid.sum(axis=2) * along).sum(axis=1)
    np.testing.assert_allclose(mean_x[inside], fields.x[inside], atol=0.05)
    np.testing.assert_allclose(mean_y[inside], fields.y[inside], atol=0.05)
    spread = np.sqrt((grid.sum(axis=1) * along**2).sum(axis=1) - mean_x**2)
    np.testing.assert_allclose(spread[inside], fields.sigma[inside], rtol=0.05)


def test_a_spot_drives_the_voxel_that_looks_at_it():
    _, _, fields = placed()
    voxel = int(np.argmin(np.hypot(fields.x - 2, fields.y - 2)))
    opposite = int(np.argmin(np.hypot(fields.x + 2, fields.y + 2)))
    spot = (np.hypot(X - fields.x[voxel], UP - fields.y[voxel]) < 0.7).astype(np.float32)
    image = np.repeat(spot[None, :, :, None], 3, axis=3)
    luminance = early.channel_maps(image)[0, 0] @ fields.gaussians().T
    assert luminance[voxel] > 0.1
    assert luminance[opposite] < 1e-3


def test_hemispheres_and_quadrants():
    _, hemisphere, fields = placed()
    assert (fields.x[hemisphere == 0] >= 0).all()
    assert (fields.x[hemisphere == 1] <= 1e-6).all()
    for name, label in early.VISUAL_AREAS.items():
        here = fields.area == label
        assert here.sum() > 30
        if name.endswith("v"):
            assert (fields.y[here] >= 0).all()
        elif name.endswith("d"):
            assert (fields.y[here] <= 1e-6).all()
        else:
            assert (fields.y[here] > 0.5).any() and (fields.y[here] < -0.5).any()
    half = early.FIELD_OF_VIEW / 2
    assert max(np.abs(fields.x).max(), np.abs(fields.y).max()) <= half


def test_eccentricity_runs_forwards_and_is_magnified_near_fixation():
    position, _, fields = placed()
    in_v1 = fields.area == early.VISUAL_AREAS["V1v"]
    order = np.corrcoef(position[in_v1, 1], fields.eccentricity[in_v1])[0, 1]
    assert order > 0.8
    # Uniform over the cortical map means denser near fixation than a uniform radius.
    assert np.median(fields.eccentricity) < early.FIELD_OF_VIEW / 4


def test_size_grows_with_eccentricity_and_area():
    _, _, fields = placed(4000)
    slopes = []
    for names in (("V1v", "V1d"), ("V2v", "V2d"), ("V3v", "V3d"), ("hV4",)):
        here = np.isin(fields.area, [early.VISUAL_AREAS[name] for name in names])
        slopes.append(np.polyfit(fields.eccentricity[here], fields.sigma[here], 1)[0])
    assert slopes == sorted(slopes)
    assert slopes[0] == pytest.approx(0.12, abs=0.03)


def test_tuning_varies_and_is_normalised():
    tuning = early.draw_early_tuning(300, rng_for(1, "tuning"))
    np.testing.assert_allclose(np.linalg.norm(tuning.linear, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(tuning.energy.sum(axis=1), 1, rtol=1e-5)
    assert (tuning.energy >= 0).all()
    assert len(np.unique(tuning.energy[:, :12].argmax(axis=1))) == 12
    assert tuning.linear_share.min() >= 0.4 and tuning.linear_share.max() <= 0.8


def test_drives_follow_the_formula():
    rng = rng_for(2, "maps")
    maps = rng.random((5, len(early.CHANNELS), early.GRID**2), np.float32)
    fields = rng.random((7, early.GRID**2), np.float32) / early.GRID**2
    tuning = early.draw_early_tuning(7, rng)
    linear, energy = early.drives(maps, fields, tuning)
    pooled = np.einsum("icg,vg->icv", maps, fields)
    np.testing.assert_allclose(
        linear, np.einsum("icv,vc->iv", pooled[:, :3], tuning.linear), rtol=1e-4, atol=1e-5
    )
    expected = np.einsum("icv,vc->iv", pooled[:, 3:], tuning.energy) ** 0.7
    np.testing.assert_allclose(energy, expected, rtol=1e-4)


def test_combine_mixes_by_share():
    rng = rng_for(4, "drives")
    linear, energy = rng.normal(size=(2, 20000, 2)).astype(np.float32)
    mixed = early.combine(linear, energy, np.array([0.8, 0.4], np.float32))
    np.testing.assert_allclose(mixed.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(mixed.std(axis=0), 1, rtol=1e-4)
    for voxel, share in enumerate((0.8, 0.4)):
        r = np.corrcoef(mixed[:, voxel], linear[:, voxel])[0, 1]
        assert r**2 == pytest.approx(share, abs=0.03)


def test_standard_score_leaves_constants_at_zero():
    values = np.column_stack([np.full(4, 0.7), [1.0, 2.0, 3.0, 4.0]]).astype(np.float32)
    scored = early.standard_score(values)
    assert not scored[:, 0].any()
    np.testing.assert_allclose(scored[:, 1].std(), 1, rtol=1e-6)


def test_area_of():
    assert [early.area_of(label) for label in (1, 4, 5, 7)] == ["V1", "V2", "V3", "hV4"]
