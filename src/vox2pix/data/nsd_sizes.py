"""How large NSD is by what was published, for planning before its files can be read.

Allen et al. (2022): trials per session, images per subject and presentations of each, images shared
by all; the functional volume and the voxels of the `streams` atlas in subject 1 (others differ by
some ten per cent).
"""

from collections.abc import Sequence

from vox2pix.data.faults import Faults
from vox2pix.data.nsd_layout import HEMISPHERES, NsdLayout, read_design
from vox2pix.data.rois import Atlas, find_atlases, roi_mask, union_parts
from vox2pix.data.source import Published
from vox2pix.data.volumes import hdf5_shape, image_shape, is_there
from vox2pix.errors import UserError

_TRIALS, _IMAGES, _REPEATS, _SHARED, _SESSIONS = 750, 10_000, 3, 1_000, 40
VOLUME = 81 * 104 * 83
"""Voxels of the functional volume."""
_VOXELS = {"early": 6_000, "ventral": 7_600, "all": 200_000}
_OTHER_VOXELS = 4_000


def published_sizes(
    layout: NsdLayout, sessions: int | Sequence[int] | None, names: Sequence[str], fault: UserError
) -> Published:
    """Size what was asked for by what is published, where its files are there but unreadable.

    ``fault`` is why the subject cannot be opened. It is raised again if the files can be read: then
    something else is wrong.
    """
    asked = _sessions_asked_for(layout, sessions, fault)
    atlases = _atlases(layout)
    _require_known(names, atlases)
    if _can_be_read(layout, asked, names, atlases):
        raise fault
    # An image is missed when all its presentations are in sessions that are not there.
    seen = 1 - max(0.0, 1 - len(asked) / _SESSIONS) ** _REPEATS
    n_trials = len(asked) * _TRIALS
    guessed = [name for name in dict.fromkeys(names) if name not in _VOXELS]
    guesses = (
        f"no size is known of {', '.join(guessed)}: {_OTHER_VOXELS:,} voxels are taken for "
        "each; check the names",
    )
    return Published(
        n_train_trials=round(n_trials * (1 - _SHARED / _IMAGES)),
        n_train=round((_IMAGES - _SHARED) * seen),
        n_test=round(_SHARED * seen),
        n_voxels={name: _VOXELS.get(name, _OTHER_VOXELS) for name in names},
        beta_bytes=2.0 * n_trials * VOLUME,
        facts=(
            f"NSD's published sizes for {len(asked)} session files; they cannot be read: {fault}",
            *(guesses if guessed else ()),
        ),
    )


def _sessions_asked_for(
    layout: NsdLayout, sessions: int | Sequence[int] | None, fault: UserError
) -> Sequence[int]:
    """Return the sessions of an experiment of which there is a file, whatever is in it."""
    present = layout.sessions_present()
    if not present:
        raise fault
    if sessions is None:
        return present
    asked = range(1, sessions + 1) if isinstance(sessions, int) else sessions
    missing = [session for session in asked if session not in present]
    if missing:
        raise UserError(
            f"{layout.betas_folder} has no file of session {missing[0]}, which data.sessions asks "
            f"for: the last one is {present[-1]}; add the file or leave the session out."
        )
    return asked


def _atlases(layout: NsdLayout) -> dict[str, Atlas]:
    extension, hemispheres = (".mgz", HEMISPHERES) if layout.is_surface else (".nii.gz", ())
    return find_atlases(layout.rois, extension, layout.label_folders, hemispheres)


def _require_known(names: Sequence[str], atlases: dict[str, Atlas]) -> None:
    """Raise if the tree names its regions, and one that is asked for is not among them."""
    regions = {"all", *atlases}
    for atlas in atlases.values():
        regions |= {*atlas.labels, *(f"{atlas.name}:{label}" for label in atlas.labels)}
    if any(atlas.labels for atlas in atlases.values()):
        for name in union_parts(names):
            if name not in regions:
                roi_mask(name, atlases, {}, Faults())  # raises, with the nearest names


def _can_be_read(
    layout: NsdLayout, sessions: Sequence[int], names: Sequence[str], atlases: dict[str, Atlas]
) -> bool:
    """Whether the files that an experiment opens are there and readable."""
    responses = [file for session in sessions for file in layout.session(session)]
    images = [file for atlas in atlases.values() for file in atlas.files]
    images += [file for file in layout.ncsnr if is_there(file)]
    if "all" in names and not layout.is_surface:
        images.append(layout.brain_mask)
    try:
        for file in (*responses, *images):
            if file.suffix == ".hdf5":
                hdf5_shape(file, "betas")
            else:
                image_shape(file)
        if is_there(layout.images):
            hdf5_shape(layout.images, "imgBrick")
        read_design(layout)
    except UserError:
        return False
    return bool(atlases) or set(names) == {"all"}
