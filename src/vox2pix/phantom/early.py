"""Early voxels: receptive fields over an oriented-energy and opponent-colour model.

An image becomes maps of what local cells signal: mean luminance and two opponent colours
(linear), energy at several orientations and spatial frequencies, and local contrast. A voxel
pools each map by its Gaussian population receptive field (pRF) and mixes what it pooled:

    lin_v(i) = sum_c a_vc  <G_v, map_ic>            c over luminance, L-M, S
    nrg_v(i) = (sum_c b_vc <G_v, map_ic>) ** 0.7    c over energies and contrast, b >= 0
    s_v(i)   = z( sqrt(w_v) z(lin_v)(i) + sqrt(1 - w_v) z(nrg_v)(i) )

with z the standard score over the images that a subject sees. The pRF and the compressive
exponent follow Dumoulin & Wandell (2008, NeuroImage 39:647) and Kay et al. (2013,
J. Neurophysiol. 110:481); the energy of a quadrature pair is Adelson & Bergen (1985, JOSA A
2:284). Linear luminance and colour stand for the voxels' responses to surfaces, by which a
linear decoder can read where which colour is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Array = NDArray[np.float32]

FIELD_OF_VIEW = 8.4
"""Width of an image in degrees of visual angle, as in NSD."""

IMAGE_SIZE = 64
"""Side in pixels at which images are analysed."""

GRID = 32
"""Side of the grid on which maps are sampled and receptive fields are laid."""

ORIENTATIONS = (0.0, 45.0, 90.0, 135.0)
"""Orientations of the energy maps: that of the bars preferred, in degrees, 0 is horizontal."""

FREQUENCIES = (0.5, 1.0, 2.0)
"""Spatial frequencies of the energy maps, in cycles per degree."""

LINEAR_CHANNELS = ("luminance", "L-M", "S")
ENERGY_CHANNELS = (
    *(f"energy {angle:g} deg {cycles:g} cpd" for cycles in FREQUENCIES for angle in ORIENTATIONS),
    "contrast",
)
CHANNELS = (*LINEAR_CHANNELS, *ENERGY_CHANNELS)

VISUAL_AREAS = {"V1v": 1, "V1d": 2, "V2v": 3, "V2d": 4, "V3v": 5, "V3d": 6, "hV4": 7}
"""Labels of NSD's ``prf-visualrois``."""

COMPRESSION = 0.7
MAGNIFICATION_E2 = 3.67
"""Eccentricity in degrees at which cortical magnification has halved: Dougherty et al. (2003)."""

_BANDWIDTH_OCTAVES = 1.2
_ORIENTATION_SD = np.deg2rad(25.0)

# Strips of early cortex from its ventral to its dorsal edge: share of the voxels, and the polar
# angle (degrees above the horizontal meridian) at the strip's ventral and dorsal border.
_STRIPS = (
    ("hV4", 0.12, -90.0, 90.0),
    ("V3v", 0.10, 90.0, 0.0),
    ("V2v", 0.14, 0.0, 90.0),
    ("V1v", 0.19, 90.0, 0.0),
    ("V1d", 0.19, 0.0, -90.0),
    ("V2d", 0.14, -90.0, 0.0),
    ("V3d", 0.12, 0.0, -90.0),
)

# pRF size = intercept + slope * eccentricity, in degrees; approximates Kay et al. (2013).
_SIZE = {"V1": (0.35, 0.12), "V2": (0.45, 0.18), "V3": (0.60, 0.26), "hV4": (0.90, 0.40)}


@dataclass(frozen=True)
class ReceptiveFields:
    """Population receptive fields, one per voxel."""

    x: Array  # (n_voxels,): centre in degrees rightwards from fixation, the image's middle
    y: Array  # (n_voxels,): the same upwards
    sigma: Array  # (n_voxels,): standard deviation of the Gaussian, in degrees
    area: NDArray[np.int16]  # (n_voxels,): label of ``VISUAL_AREAS``

    @property
    def eccentricity(self) -> Array:
        """Distance of the centre from fixation, in degrees, shape (n_voxels,)."""
        return np.hypot(self.x, self.y)

    def gaussians(self) -> Array:
        """Return the fields on the grid, shape (n_voxels, GRID * GRID), each of sum 1."""
        step = FIELD_OF_VIEW / GRID
        along = (np.arange(GRID, dtype=np.float32) + 0.5) * step - FIELD_OF_VIEW / 2
        scale = -0.5 / self.sigma[:, None] ** 2
        across = np.exp(scale * (along[None] - self.x[:, None]) ** 2)
        down = np.exp(scale * (along[None] + self.y[:, None]) ** 2)
        fields = (down[:, :, None] * across[:, None, :]).reshape(len(self.x), -1)
        return (fields / fields.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class EarlyTuning:
    """What an early voxel makes of the maps under its receptive field."""

    linear: Array  # (n_voxels, 3): weights of the linear channels (a in the module's formula)
    energy: Array  # (n_voxels, 13): weights of the energy channels, not negative (b)
    # (n_voxels,): share of the signal's variance that the linear channels drive (w)
    linear_share: Array


def area_of(label: int) -> str:
    """Return V1, V2, V3 or hV4 for a label of ``VISUAL_AREAS``."""
    name = {value: name for name, value in VISUAL_AREAS.items()}[label]
    return name if name == "hV4" else name[:2]


def place_receptive_fields(
    position: Array, hemisphere: NDArray[np.int8], rng: np.random.Generator
) -> ReceptiveFields:
    """Lay a retinotopic map over early voxels by where they are.

    In each hemisphere the voxels are cut, from ventral to dorsal, into the strips hV4, V3v, V2v,
    V1v, V1d, V2d, V3d. Polar angle runs across a strip and turns at its borders, the horizontal
    meridian in the middle of V1 (the calcarine), so ventral V1 to V3 see the upper quadrant and
    dorsal ones the lower. Eccentricity runs from the posterior pole forwards, and neighbours
    stand closer together in the visual field near fixation: with magnification proportional to
    1 / (e + e2), the eccentricity at fraction u of the way is e2 * ((1 + e_max / e2) ** u - 1),
    where e_max is the edge of the image in that direction. The left hemisphere sees the right.

    ``position`` is (n_voxels, 3).
    """
    n_voxels = len(position)
    area = np.zeros(n_voxels, np.int16)
    angle = np.zeros(n_voxels)
    ecc_rank = np.zeros(n_voxels)
    bounds = np.cumsum([0.0, *(strip[1] for strip in _STRIPS)])
    for side in (0, 1):
        here = np.flatnonzero(hemisphere == side)
        height = _rank(position[here, 2])
        for (name, _, ventral, dorsal), low, high in zip(
            _STRIPS, bounds[:-1], bounds[1:], strict=True
        ):
            strip = here[(height >= low) & (height < high)]
            area[strip] = VISUAL_AREAS[name]
            angle[strip] = ventral + (dorsal - ventral) * _rank(position[strip, 2])
            ecc_rank[strip] = _rank(position[strip, 1])
    angle = _jitter_angle(angle, area, rng)
    radians = np.deg2rad(angle)
    half = FIELD_OF_VIEW / 2
    edge = half / np.maximum(np.abs(np.cos(radians)), np.abs(np.sin(radians)))
    # The spread of single voxels about the smooth map, in fractions of the map.
    u = np.clip(ecc_rank + rng.normal(0, 0.03, n_voxels), 0.01, 0.99)
    eccentricity = MAGNIFICATION_E2 * ((1 + edge / MAGNIFICATION_E2) ** u - 1)
    towards = np.where(hemisphere == 0, 1.0, -1.0)
    size = np.array([_SIZE[area_of(int(label))] for label in area]).reshape(-1, 2)
    sigma = (size[:, 0] + size[:, 1] * eccentricity) * np.exp(rng.normal(0, 0.15, n_voxels))
    return ReceptiveFields(
        x=(towards * eccentricity * np.cos(radians)).astype(np.float32),
        y=(eccentricity * np.sin(radians)).astype(np.float32),
        sigma=sigma.astype(np.float32),
        area=area,
    )


def draw_early_tuning(n_voxels: int, rng: np.random.Generator) -> EarlyTuning:
    """Draw how each early voxel weighs colour, luminance, orientation, frequency and contrast.

    A voxel's linear weights point anywhere in luminance and colour; its energies prefer one
    orientation (broadly, as a voxel mixes columns) and one frequency; 40 to 80 % of its signal
    is linear.
    """
    linear = rng.normal(size=(n_voxels, 3))
    orientation = np.deg2rad(rng.uniform(0, 180, (n_voxels, 1)))
    frequency = rng.uniform(np.log2(FREQUENCIES[0]), np.log2(FREQUENCIES[-1]), (n_voxels, 1))
    by_angle = np.exp(1.5 * np.cos(2 * (np.deg2rad(ORIENTATIONS)[None] - orientation)))
    by_frequency = np.exp(-0.5 * (np.log2(FREQUENCIES)[None] - frequency) ** 2)
    oriented = (by_frequency[:, :, None] * by_angle[:, None, :]).reshape(n_voxels, -1)
    oriented /= oriented.sum(axis=1, keepdims=True)
    contrast = rng.uniform(0.1, 0.5, (n_voxels, 1))
    return EarlyTuning(
        linear=(linear / np.linalg.norm(linear, axis=1, keepdims=True)).astype(np.float32),
        energy=np.hstack([(1 - contrast) * oriented, contrast]).astype(np.float32),
        linear_share=rng.uniform(0.4, 0.8, n_voxels).astype(np.float32),
    )


def channel_maps(images: Array) -> Array:
    """Return what local cells signal in each image, float32 (n, len(CHANNELS), GRID * GRID).

    ``images`` is (n, IMAGE_SIZE, IMAGE_SIZE, 3), RGB in [0, 1]. Luminance is (r + g + b) / 3,
    L-M is r - g and S is b - (r + g) / 2; energies are the amplitude of each quadrature pair of
    Gabor filters on the luminance, and the standard deviation of luminance within half a
    degree, in units of luminance.
    """
    size = IMAGE_SIZE
    if images.ndim != 4 or images.shape[1:] != (size, size, 3):
        raise ValueError(f"images have shape {images.shape}; expected (n, {size}, {size}, 3)")
    red, green, blue = (images[..., k] for k in range(3))
    luminance = images.mean(axis=-1, dtype=np.float32)
    maps = [luminance, red - green, blue - (red + green) / 2]
    maps += list(_energies(luminance))
    blur = 0.5 * IMAGE_SIZE / FIELD_OF_VIEW
    mean, square = (
        ndimage.gaussian_filter(values, (0, blur, blur), mode="reflect")
        for values in (luminance, luminance**2)
    )
    maps.append(np.sqrt(np.maximum(square - mean**2, 0)))
    pooled = np.stack(maps, axis=1).reshape(len(images), len(CHANNELS), GRID, 2, GRID, 2)
    return pooled.mean(axis=(3, 5), dtype=np.float32).reshape(len(images), len(CHANNELS), -1)


def drives(maps: Array, fields: Array, tuning: EarlyTuning) -> tuple[Array, Array]:
    """Return the linear and the energy drive of each voxel, before standard scores.

    They are ``lin_v`` and ``nrg_v`` of the module's formula, float32 (n, n_voxels); ``maps`` is
    (n, len(CHANNELS), GRID * GRID), ``fields`` (n_voxels, GRID * GRID), ``tuning`` one row per
    voxel.
    """
    weighed = fields.T
    linear = np.zeros((len(maps), len(fields)), np.float32)
    energy = np.zeros_like(linear)
    n_linear = len(LINEAR_CHANNELS)
    for channel in range(n_linear):
        linear += tuning.linear[:, channel] * (maps[:, channel] @ weighed)
    for channel in range(len(ENERGY_CHANNELS)):
        energy += tuning.energy[:, channel] * (maps[:, n_linear + channel] @ weighed)
    return linear, np.maximum(energy, 0) ** np.float32(COMPRESSION)


def combine(linear: Array, energy: Array, linear_share: Array) -> Array:
    """Return the signal s_v(i) of the module's formula, (n_stimuli, n_voxels), float32.

    Its mean over stimuli is 0 and its standard deviation 1 in every voxel that responds at all.
    """
    share = np.sqrt(linear_share)
    rest = np.sqrt(1 - linear_share)
    return standard_score(share * standard_score(linear) + rest * standard_score(energy))


def standard_score(values: NDArray[np.floating]) -> Array:
    """Return columns less their mean over their standard deviation; constant columns become 0."""
    mean = values.mean(axis=0, dtype=np.float64)
    deviation = values.std(axis=0, dtype=np.float64)
    moves = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=moves)
    return ((values - mean) * scale).astype(np.float32)


def _energies(luminance: Array) -> Iterator[Array]:
    """Yield the amplitude of each quadrature pair over (n, size, size) luminance."""
    pad = IMAGE_SIZE // 4
    padded = np.pad(luminance, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    spectrum = fft.fft2(padded)
    inside = slice(pad, pad + IMAGE_SIZE)
    for transfer in _transfer_functions(padded.shape[-1]):
        yield np.abs(fft.ifft2(spectrum * transfer)[:, inside, inside]).astype(np.float32)


def _transfer_functions(size: int) -> Iterator[Array]:
    """Yield one-sided log-Gabor filters: their response is a quadrature pair, even + i odd."""
    along = np.fft.fftfreq(size) * IMAGE_SIZE / FIELD_OF_VIEW
    down, across = np.meshgrid(along, along, indexing="ij")
    radius = np.hypot(down, across)
    radius[0, 0] = np.inf
    for cycles in FREQUENCIES:
        octaves = np.log2(np.where(np.isinf(radius), 1e-9, radius) / cycles)
        radial = np.exp(-0.5 * (octaves / (_BANDWIDTH_OCTAVES / 2)) ** 2)
        for angle in ORIENTATIONS:
            # Bars along `angle` vary at right angles to it; rows count downwards, y upwards.
            across_bars = np.deg2rad(angle + 90)
            offset = np.angle(np.exp(1j * (np.arctan2(-down, across) - across_bars)))
            yield (2 * radial * np.exp(-0.5 * (offset / _ORIENTATION_SD) ** 2)).astype(np.float32)


def _rank(values: Array) -> NDArray[np.float64]:
    """Return the rank of each value as a fraction in (0, 1); ties keep their order."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values)) + 0.5
    return ranks / max(len(values), 1)


def _jitter_angle(
    angle: NDArray[np.float64], area: NDArray[np.int16], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Scatter polar angles by 5 degrees, but never out of the quadrant of their area."""
    low = np.full(len(angle), -90.0)
    high = np.full(len(angle), 90.0)
    low[np.isin(area, [VISUAL_AREAS[name] for name in ("V1v", "V2v", "V3v")])] = 0.0
    high[np.isin(area, [VISUAL_AREAS[name] for name in ("V1d", "V2d", "V3d")])] = 0.0
    return np.clip(angle + rng.normal(0, 5.0, len(angle)), low, high)
