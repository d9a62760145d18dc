"""A simulated subject: where its voxels are, what they respond to, how noisy they are.

Two spaces. ``func1pt8mm`` is a small block of 1.8 mm voxels: each stream of each hemisphere is a
ball of voxels at a place that resembles the cortex's order (early at the pole, ventral before
and below, parietal above), with a shell of brain that belongs to no stream. ``fsaverage5`` is
the mesh that nilearn ships, with each stream at the vertices nearest to its place in the brain.
Everything in the brain is measured; what belongs to no stream is noise alone. Both spaces
sample the same subject, but each draws its own voxels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse, spatial

from vox2pix.errors import UserError
from vox2pix.phantom import early, higher
from vox2pix.phantom.early import EarlyTuning, ReceptiveFields
from vox2pix.phantom.higher import Content, HigherTuning
from vox2pix.phantom.noise import NoiseModel, draw_ncsnr
from vox2pix.seeds import rng_for

Array = NDArray[np.float32]

STREAMS = {
    "early": 1,
    "midventral": 2,
    "midlateral": 3,
    "midparietal": 4,
    "ventral": 5,
    "lateral": 6,
    "parietal": 7,
}
"""Labels of NSD's ``streams``."""

VOXEL_SIZE = 1.8
"""Millimetres."""

SMOOTHING_SD = 2.4
"""Standard deviation in millimetres of the noise's local part over the volume."""

MESH_STEPS = 3
"""Times that the noise's local part on the mesh is averaged over a vertex's neighbours."""

FSAVERAGE5_VERTICES = 10242

# Voxels of the smaller streams, as a fraction of those of the ventral stream.
_SMALLER = {
    "midventral": 0.08,
    "midlateral": 0.08,
    "midparietal": 0.06,
    "lateral": 0.10,
    "parietal": 0.08,
}

# Middle of each stream in the volume, in units of the early ball's radius: from the midline
# outwards, forwards, upwards.
_BALLS = {
    "early": (1.05, 0.0, 0.0),
    "ventral": (1.10, 1.75, -0.55),
    "midventral": (1.35, 0.95, -0.95),
    "midlateral": (2.00, 0.45, 0.10),
    "midparietal": (1.05, 0.75, 0.85),
    "lateral": (1.90, 1.35, 0.45),
    "parietal": (1.00, 1.55, 0.85),
}

# Course of each stream on the left hemisphere, from one end to the other, in fsaverage's
# millimetres (the right hemisphere mirrors it): calcarine, fusiform, lateral occipital,
# intraparietal.
_COURSES = {
    "early": ((-12.0, -99.0, -3.0), (-13.0, -72.0, 5.0)),
    "midventral": ((-28.0, -82.0, -13.0), (-30.0, -76.0, -13.0)),
    "midlateral": ((-38.0, -88.0, 0.0), (-42.0, -82.0, 2.0)),
    "midparietal": ((-22.0, -86.0, 24.0), (-25.0, -80.0, 28.0)),
    "ventral": ((-32.0, -68.0, -13.0), (-38.0, -38.0, -20.0)),
    "lateral": ((-46.0, -76.0, 4.0), (-52.0, -62.0, 8.0)),
    "parietal": ((-25.0, -70.0, 42.0), (-32.0, -52.0, 52.0)),
}


@dataclass(frozen=True)
class Layout:
    """Where a subject's voxels (or vertices) are."""

    space: str  # ``func1pt8mm`` or ``fsaverage5``
    # (X, Y, Z) of the volume, or the vertices of the left and of the right hemisphere
    shape: tuple[int, ...]
    # (4, 4): from voxel indices to millimetres; None on the surface
    affine: NDArray[np.float64] | None
    # (n_voxels, 3): voxel indices i, j, k; or hemisphere (0 left, 1 right) and vertex
    index: NDArray[np.int32]
    hemisphere: NDArray[np.int8]  # (n_voxels,): 0 left, 1 right
    position: Array  # (n_voxels, 3): millimetres, right, anterior, superior
    stream: NDArray[np.int16]  # (n_voxels,): label of ``STREAMS``; 0 is brain that belongs to none
    # (n_voxels, n_voxels): averages over neighbours; rows have length 1
    smoothing: sparse.csr_matrix

    @property
    def n_voxels(self) -> int:
        """Number of voxels in the brain."""
        return len(self.stream)


@dataclass(frozen=True)
class Brain:
    """One simulated subject in one space."""

    subject: int  # from 1
    layout: Layout
    early: NDArray[np.int64]  # which voxels are in the early stream, and which in the others
    higher: NDArray[np.int64]
    fields: ReceptiveFields  # of the early voxels
    early_tuning: EarlyTuning
    higher_tuning: HigherTuning
    baseline: Array  # (n_voxels,): mean response, percent signal change
    signal_sd: Array  # (n_voxels,): standard deviation of the signal, percent signal change
    ncsnr: Array  # (n_voxels,): the true ratio of signal to noise
    noise: NoiseModel
    reliability: float  # factor of this subject on NSD's ncsnr; 1 for subject 1

    @property
    def responsive(self) -> NDArray[np.int64]:
        """Voxels that belong to a stream."""
        return np.flatnonzero(self.layout.stream > 0)

    def visual_area(self) -> NDArray[np.int16]:
        """Return the label of ``early.VISUAL_AREAS`` of each voxel; 0 outside early cortex."""
        area = np.zeros(self.layout.n_voxels, np.int16)
        area[self.early] = self.fields.area
        return area

    def responses(self, linear: Array, energy: Array, content: Content) -> Array:
        """Return noise-free responses in percent signal change, (n_stimuli, n_voxels).

        ``linear, energy`` is (n_stimuli, n_early).
        """
        signal = np.zeros((len(linear), self.layout.n_voxels), np.float32)
        signal[:, self.early] = early.combine(linear, energy, self.early_tuning.linear_share)
        signal[:, self.higher] = higher.respond(content, self.higher_tuning)
        return self.baseline + self.signal_sd * signal


def simulate_brain(
    subject: int,
    space: str,
    n_early: int,
    n_ventral: int,
    content: Content,
    seed: int,
) -> Brain:
    """Draw one subject in one space.

    Subjects differ: the numbers of voxels by up to 10 %, the shape and order of the volume, and
    the reliability, a factor on NSD's ncsnr (log-normal, 12 %). Subject 1 has the numbers asked
    for and NSD's own reliability. The vertices of a stream on the common mesh are the same for
    all, as in NSD. ``n_early`` and ``n_ventral`` count both hemispheres; the smaller streams follow
    the ventral one.
    """
    person = rng_for(seed, "subject", subject)
    spread = np.ones(2) if subject == 1 else person.uniform(0.9, 1.1, 2)
    reliability = 1.0 if subject == 1 else float(np.exp(person.normal(0, 0.12)))
    rng = rng_for(seed, "brain", subject, space)
    if space == "fsaverage5":
        layout = surface_layout(stream_counts(n_early, n_ventral))
    else:
        counts = stream_counts(round(n_early * spread[0]), round(n_ventral * spread[1]))
        layout = volume_layout(counts, rng)
    in_early = np.flatnonzero(layout.stream == STREAMS["early"])
    in_higher = np.flatnonzero(layout.stream > STREAMS["early"])
    fields = early.place_receptive_fields(
        layout.position[in_early], layout.hemisphere[in_early], rng
    )
    names = {label: name for name, label in STREAMS.items()}
    areas = [names.get(int(label), "") for label in layout.stream]
    for voxel, label in zip(in_early, fields.area, strict=True):
        areas[voxel] = early.area_of(int(label))
    n_voxels = layout.n_voxels
    ncsnr = reliability * draw_ncsnr(areas, layout.smoothing, rng)
    # Of a trial's total spread, in percent signal change, ncsnr says how much is signal.
    total_sd = np.exp(rng.normal(np.log(1.5), 0.3, n_voxels))
    noise_sd = total_sd / np.sqrt(1 + ncsnr**2)
    baseline = np.where(layout.stream > 0, rng.normal(0.8, 0.5, n_voxels), 0)
    return Brain(
        subject=subject,
        layout=layout,
        early=in_early,
        higher=in_higher,
        fields=fields,
        early_tuning=early.draw_early_tuning(len(in_early), rng),
        higher_tuning=higher.draw_higher_tuning(
            content,
            [names[int(label)] for label in layout.stream[in_higher]],
            _unit_rows(layout.smoothing[in_higher][:, in_higher]),
            rng,
        ),
        baseline=baseline.astype(np.float32),
        signal_sd=(ncsnr * noise_sd).astype(np.float32),
        ncsnr=ncsnr.astype(np.float32),
        noise=NoiseModel(noise_sd.astype(np.float32), layout.smoothing),
        reliability=reliability,
    )


def stream_counts(n_early: int, n_ventral: int) -> dict[str, int]:
    """Return the number of voxels of each stream, both hemispheres; at least 2 each."""
    counts = {"early": n_early, "ventral": n_ventral}
    counts |= {name: round(part * n_ventral) for name, part in _SMALLER.items()}
    return {name: max(2, counts[name]) for name in STREAMS}


def volume_layout(counts: Mapping[str, int], rng: np.random.Generator) -> Layout:
    """Lay the streams out in a block of voxels, a little differently for each subject.

    In the order of ``_BALLS`` each stream takes the free voxels nearest to its middle. A shell
    one voxel thick around them all is brain without a stream, and the block ends one voxel
    further out. Voxels are ordered by their indices i, j, k.
    """
    radius = (3 * max(counts.values()) / 2 / (4 * np.pi)) ** (1 / 3)
    half = int(np.ceil(4.5 * radius)) + 3
    axis = np.arange(-half, half)
    stream = np.zeros((2 * half,) * 3, np.int16)
    for side, towards in enumerate((-1, 1)):
        # Left of the middle is index half - 1 and less; the midline falls between two voxels.
        i, j, k = np.meshgrid(axis, axis, axis, indexing="ij")
        outwards = towards * (i + 0.5)
        free = outwards > 0.6
        stretch = np.exp(rng.normal(0, 0.06, 3))
        for name, middle in _BALLS.items():
            place = radius * np.array(middle) + rng.normal(0, 0.05 * radius, 3)
            place[0] = max(place[0], 1.0)
            distance = sum(
                ((axis_mm - at) / wide) ** 2
                for axis_mm, at, wide in zip((outwards, j, k), place, stretch, strict=True)
            )
            n_here = counts[name] // 2 + (counts[name] % 2 if side == 0 else 0)
            order = np.argsort(np.where(free, distance, np.inf), axis=None, kind="stable")
            taken = np.unravel_index(order[:n_here], stream.shape)
            stream[taken] = STREAMS[name]
            free[taken] = False
    brain = ndimage.binary_dilation(stream > 0)
    corners = np.argwhere(brain)
    low, high = corners.min(axis=0) - 1, corners.max(axis=0) + 2
    index = corners - low
    affine = np.diag([VOXEL_SIZE, VOXEL_SIZE, VOXEL_SIZE, 1.0])
    # The middle of the early streams is at the occipital pole's place in the head.
    affine[:3, 3] = VOXEL_SIZE * (low + np.array([0.5, 0, 0]) - half) + np.array([0.0, -88.0, 2.0])
    position = index @ affine[:3, :3].T + affine[:3, 3]
    return Layout(
        space="func1pt8mm",
        shape=tuple(int(size) for size in high - low),
        affine=affine,
        index=index.astype(np.int32),
        hemisphere=(corners[:, 0] >= half).astype(np.int8),
        position=position.astype(np.float32),
        stream=stream[tuple(corners.T)],
        smoothing=_volume_smoothing(position),
    )


def require_vertices(counts: Mapping[str, int]) -> None:
    """Raise if the streams (vertices in both hemispheres) do not fit on fsaverage5."""
    taken = sum(-(-count // 2) for count in counts.values())
    if taken > FSAVERAGE5_VERTICES:
        raise UserError(
            f"The streams early ({counts['early']}) and ventral ({counts['ventral']}), with the "
            f"smaller streams, take {taken} vertices of a hemisphere of fsaverage5, which has "
            f"{FSAVERAGE5_VERTICES}: ask for fewer, or for space func1pt8mm."
        )


def surface_layout(counts: Mapping[str, int]) -> Layout:
    """Lay the streams out on fsaverage5: each takes the free vertices nearest to its course.

    All vertices are kept, left hemisphere first.
    """
    require_vertices(counts)
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_mesh

    # nilearn carries this mesh in its own package: nothing is downloaded.
    files = fetch_surf_fsaverage("fsaverage5")
    meshes = [load_surf_mesh(files[f"white_{side}"]) for side in ("left", "right")]
    streams = []
    for side, (mesh, mirror) in enumerate(zip(meshes, (1.0, -1.0), strict=True)):
        stream = np.zeros(len(mesh.coordinates), np.int16)
        for name, label in STREAMS.items():
            start, end = (np.array(point) * (mirror, 1, 1) for point in _COURSES[name])
            distance = _distance_to_course(mesh.coordinates, start, end)
            n_here = counts[name] // 2 + (counts[name] % 2 if side == 0 else 0)
            nearest = np.argsort(np.where(stream == 0, distance, np.inf), kind="stable")
            stream[nearest[:n_here]] = label
        streams.append(stream)
    sizes = tuple(len(stream) for stream in streams)
    hemisphere = np.repeat(np.arange(2), sizes)
    vertex = np.concatenate([np.arange(size) for size in sizes])
    smoothing = sparse.block_diag(
        [_mesh_smoothing(np.asarray(mesh.faces), len(mesh.coordinates)) for mesh in meshes],
        format="csr",
    )
    return Layout(
        space="fsaverage5",
        shape=sizes,
        affine=None,
        index=np.column_stack([hemisphere, vertex]).astype(np.int32),
        hemisphere=hemisphere.astype(np.int8),
        position=np.concatenate([mesh.coordinates for mesh in meshes]).astype(np.float32),
        stream=np.concatenate(streams),
        smoothing=sparse.csr_matrix(smoothing, dtype=np.float32),
    )


def _volume_smoothing(position: NDArray[np.float64]) -> sparse.csr_matrix:
    """Return Gaussian weights over voxels within two standard deviations."""
    tree = spatial.cKDTree(position)
    near = tree.sparse_distance_matrix(tree, 2 * SMOOTHING_SD, output_type="coo_matrix")
    weight = np.exp(-0.5 * (near.data / SMOOTHING_SD) ** 2)
    weights = sparse.csr_matrix((weight, (near.row, near.col)), shape=near.shape)
    weights.setdiag(1.0)
    weights.sort_indices()
    return _unit_rows(weights)


def _mesh_smoothing(faces: NDArray[np.int32], n_vertices: int) -> sparse.csr_matrix:
    """Return the weights of repeatedly averaging each vertex with its neighbours."""
    ends = np.concatenate([faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    edges = sparse.csr_matrix(
        (np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n_vertices, n_vertices)
    )
    neighbours = ((edges + edges.T) > 0).astype(np.float64)
    degree = np.asarray(neighbours.sum(axis=1)).ravel()
    step = (sparse.eye(n_vertices) + sparse.diags(1 / np.maximum(degree, 1)) @ neighbours) / 2
    weights = sparse.csr_matrix(step)
    for _ in range(MESH_STEPS - 1):
        weights = sparse.csr_matrix(weights @ step)
    weights.sort_indices()
    return _unit_rows(weights)


def _unit_rows(weights: sparse.csr_matrix) -> sparse.csr_matrix:
    """Scale each row to length 1, float32."""
    length = np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1)).ravel())
    scaled = sparse.diags(1 / length) @ weights
    return sparse.csr_matrix(scaled, dtype=np.float32)


def _distance_to_course(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance of each point to a straight line between two points."""
    along = end - start
    part = np.clip((points - start) @ along / (along @ along), 0, 1)
    return np.linalg.norm(points - start - part[:, None] * along, axis=1)
