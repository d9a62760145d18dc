"""The front door of the phantom; heavy libraries are imported when it is used."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from vox2pix.errors import UserError
from vox2pix.phantom.settings import Settings, checked_shared, checked_sizes, checked_spaces

Progress = Callable[[str, int, int], None]


def simulate(
    out: str | Path,
    subjects: int = 1,
    sessions: int = 4,
    seed: int = 0,
    space: str | Sequence[str] = "func1pt8mm",
    n_early: int = 1500,
    n_ventral: int = 1500,
    trials_per_session: int = 750,
    images: str | Path | None = None,
    captions: str | Path | None = None,
    *,
    repeats: int = 3,
    n_shared: int | None = None,
    image_size: int = 128,
    no_data: bool = True,
    nifti: bool = False,
    imagery: str | Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Simulate an fMRI experiment and write it as the Natural Scenes Dataset is written.

    The tree at ``out`` has NSD's folders and file formats. The truth behind it (noise-free
    responses, receptive fields, tunings, noise) is in ``out/truth/subjNN.h5``, which no reader of
    NSD looks at. The same arguments give the same files, byte for byte. The folder appears when
    it is complete: an interrupted run leaves nothing at ``out``.

    Parameters
    ----------
    out : str or Path
        Folder to make; it must not exist.
    subjects : int
        How many people, from ``subj01``.
    sessions, trials_per_session : int
        Length of the experiment; NSD has 40 sessions of 750 trials.
    seed : int
        Everything random follows from it.
    space : str or sequence of str
        ``"func1pt8mm"`` (volume), ``"fsaverage5"`` (surface), or both (``"both"`` or a list).
    n_early, n_ventral : int
        Voxels (or vertices) in these streams of subject 1; the other streams are smaller.
    images : str or Path, optional
        A folder of images to show instead of drawn scenes; square crops of their middle.
    captions : str or Path, optional
        Captions of ``images``, by which higher voxels respond: a CSV file with columns
        ``stimulus_id`` (the image's file name, with or without its ending) and ``caption``,
        a line each, or a COCO annotation file, whose ``image_id`` is the number in the name.
    repeats : int
        How often each image is shown to a subject.
    n_shared : int, optional
        Images that all subjects see, the test set; a tenth of a subject's images if not given.
    image_size : int
        Side of the stored images in pixels (425 in NSD).
    no_data : bool
        Whether a few voxels at the edge lack data in a session, as in NSD: 0 in volumes, NaN on
        surfaces. The other voxels are the same with and without.
    nifti : bool
        Whether volumes are written as NIfTI beside HDF5, as in NSD.
    imagery : str or sequence of str, optional
        Add a session in NSD-Imagery's layout, of the case ``"signal"`` (imagery evokes what was
        seen, more weakly), ``"no-signal"`` (it evokes nothing but its cue) or ``"cue-only"``
        (nothing but a strong cue): one for all subjects, or one each, the last for all others.
        What the other sessions hold does not change. With it come dreams, a folder of one's own
        data with reports (``out/dreams/SPACE/subjNN``).
    progress : callable, optional
        Called with what is being done, how much is done and how much there is.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    UserError
        If ``out`` exists or cannot be made, a number or a space is not possible, or images and
        captions do not fit the experiment.
    """
    out = Path(out)
    spaces = checked_spaces(space)
    sizes = checked_sizes(
        subjects=subjects,
        sessions=sessions,
        trials_per_session=trials_per_session,
        repeats=repeats,
        n_early=n_early,
        n_ventral=n_ventral,
        image_size=image_size,
    )
    shared = checked_shared(n_shared, sessions * trials_per_session, repeats)
    own = _own_files(images, captions)
    if imagery and own:
        raise UserError("Imagery is simulated with drawn scenes: leave images and captions out.")
    if os.path.lexists(out):
        raise UserError(f"{out} exists: name a folder that does not, or remove it first.")
    from vox2pix.phantom.experiment import write_experiment
    from vox2pix.phantom.imagery import checked_cases

    cases = checked_cases(imagery, subjects, shared)
    settings = Settings(
        **sizes,
        n_shared=shared,
        spaces=spaces,
        seed=seed,
        no_data=no_data,
        nifti=nifti,
        imagery=cases,
    )
    write_experiment(out, settings, own, progress or (lambda what, done, total: None))
    return out


def _own_files(images: str | Path | None, captions: str | Path | None) -> tuple[Path, Path] | None:
    """Return the folder of a person's own images and their captions, both or none."""
    if images is not None and captions is not None:
        return Path(images), Path(captions)
    if images is None and captions is None:
        return None
    given, lacking = ("images", "captions") if captions is None else ("captions", "images")
    raise UserError(
        f"{given} were given without {lacking}: a person's own images need both "
        "(higher voxels respond to the words of the captions)."
    )
