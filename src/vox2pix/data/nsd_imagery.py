"""Reader of NSD-Imagery: eighteen stimuli seen, attended to and imagined by NSD's subjects.

Betas of the twelve runs are in one file of 720 volumes, in an order that no file states. Public
loaders agree on the order of runs, see :data:`RUNS`. An attention run gives two betas for each
trial, of the cue and of the detection; which comes where is documented nowhere, so that it is a
setting, :data:`AttentionOrder`, and a note says that it is unverified.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from vox2pix.buckets import as_path
from vox2pix.data.faults import Faults
from vox2pix.data.images import read_image
from vox2pix.data.labels import read_grid
from vox2pix.data.no_data import leave_out_empty
from vox2pix.data.nsd import NsdBetas, session_shape, voxel_indices
from vox2pix.data.nsd_layout import NsdLayout
from vox2pix.data.nsd_stimuli import NsdStimuli
from vox2pix.data.nsd_voxels import valid_ncsnr, voxel_table
from vox2pix.data.origin import NSD, origin_of
from vox2pix.data.source import Source
from vox2pix.data.subject import Subject
from vox2pix.data.volumes import is_there
from vox2pix.errors import UserError
from vox2pix.untrusted.files import one_line, require_file, require_inside
from vox2pix.untrusted.tables import read_csv

AttentionOrder = Literal["interleaved", "cues-first"]
Task = Literal["vision", "attention-cue", "attention-detection", "imagery"]

RUNS = (
    *("visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1"),
    *("imgA_2", "imgB_2", "imgC_2"),
)
"""Runs in the order of the betas: 48 betas of each, 96 of an attention run."""

LETTERS = {"A": "HRVLPE", "B": "WKBCDT", "C": "SZMYNF"}
"""Cue letters of each set: simple figures, scenes, concepts (of which there is no image)."""

N_TRIALS = 48  # of a run
N_BETAS = sum(2 * N_TRIALS if run.startswith("att") else N_TRIALS for run in RUNS)

_TASKS: dict[str, Task] = {"vis": "vision", "img": "imagery"}
_SESSION = 1  # all runs are of one session
# Names of the images of sets A and B, in the order of their letters.
_IMAGES = {
    "A": ("bar_000*", "bar_045*", "bar_090*", "bar_135*", "cross_000*", "cross_045*"),
    "B": (
        *("shared0385_nsd28752*", "shared0413_nsd30857*", "shared0741_nsd53882*"),
        *("shared0842_nsd61178*", "shared0907_nsd65873*", "shared0000_nsd00000*"),
    ),
}
_NSD_NUMBER = re.compile(r"nsd(\d{5})")  # counts from 1; 00000 is an image that NSD does not have


@dataclass(frozen=True)
class ImageryLayout(NsdLayout):
    """Paths of NSD-Imagery in NSD's tree; regions, affine and ncsnr are those of NSD."""

    @property
    def betas_folder(self) -> Path:
        """Folder of this subject's betas of the imagery session."""
        return self.all_betas / self.name / self.space / f"nsdimagery{self.betas}"

    @property
    def ncsnr(self) -> tuple[Path, ...]:
        """Maps of the noise-ceiling signal-to-noise ratio, of NSD's own sessions."""
        return NsdLayout(self.root, self.subject, self.space, self.betas).ncsnr

    def session(self, session: int) -> tuple[Path, ...]:
        """Files of the one session: a volume (HDF5 before NIfTI), or one file a hemisphere."""
        if self.is_surface:
            return tuple(self.betas_folder / f"{h}.betas_nsdimagery.mgh" for h in ("lh", "rh"))
        hdf5 = self.betas_folder / "betas_nsdimagery.hdf5"
        nifti = self.betas_folder / "betas_nsdimagery.nii.gz"
        return (nifti,) if nifti.is_file() and not hdf5.is_file() else (hdf5,)

    def table(self, run: str) -> Path:
        """Return the path of the table of trials of a run."""
        folder = self.root / "nsddata/bdata/nsdimagery"
        return folder / f"nsdimagery_{self.name}_{run}.tsv"

    def image_folder(self, name: str) -> Path:
        """Return the folder of the images of a set."""
        return self.root / f"nsddata/experiments/nsdimagery/rawtargetimages/set{name}"


def is_of_imagery(root: str | Path) -> bool:
    """Return whether a folder or URL holds NSD-Imagery's tables of trials."""
    return (as_path(root) / "nsddata/bdata/nsdimagery").is_dir()


def open_nsd_imagery(
    root: str | Path,
    subject: int = 1,
    rois: str | Sequence[str] = ("early", "ventral"),
    space: str = "func1pt8mm",
    betas: str = "betas_fithrf_GLMdenoise_RR",
    *,
    attention_order: AttentionOrder = "interleaved",
    leave_out: bool = True,
) -> Subject:
    """Open the imagery session of one subject of NSD.

    Parameters
    ----------
    root : str or Path
        Folder or URL of NSD's tree, as for :func:`open_nsd`; it needs the regions of NSD, too.
    subject : int
        1 to 8.
    rois, space, betas
        As for :func:`open_nsd`; the folder of the betas is ``nsdimagery`` and ``betas``.
    attention_order : {"interleaved", "cues-first"}
        Whether cue and detection of an attention run alternate trial by trial, which is the
        order of their onsets, or all cues come first. No source says which: unverified.
    leave_out : bool
        Whether to leave out voxels without data.

    Returns
    -------
    Subject
        720 trials of one session, all of the split ``test``. Beside the usual columns of its
        trials: ``task`` (``vision``, ``attention-cue``, ``attention-detection``, ``imagery``),
        ``set`` (``A``, ``B``, ``C``), ``run_name`` and ``button``, the answer as the table has it
        (NaN if none). Stimuli are named by set and cue letter, such as ``B-W``. Those of set C
        have no image, and only stimuli that NSD has are captioned.

    Raises
    ------
    UserError
        If a file is missing or damaged, the betas are not 720, or a table has not 48 trials of
        its set's letters.
    """
    layout = ImageryLayout(as_path(root), subject, space, betas)
    return _opened(layout, rois, attention_order, leave_out, Faults())


class NsdImagerySource(Source):
    """The imagery session of a subject of NSD."""

    name: ClassVar[str] = "nsd-imagery"
    title: ClassVar[str] = "NSD-Imagery's layout"
    image_side: ClassVar[int] = 425

    subject: int = 1
    space: str = "func1pt8mm"
    betas: str = "betas_fithrf_GLMdenoise_RR"
    attention_order: AttentionOrder = Field(
        default="interleaved",
        description="betas of attention runs: cue and detection of each trial, or all cues first",
    )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Return whether there are tables of trials; NSD's own sessions come first in a tree."""
        return is_of_imagery(root)

    def gather(self, rois: Sequence[str], faults: Faults) -> Subject | None:
        """Open the session, or add what is at fault."""
        layout = ImageryLayout(self.root, self.subject, self.space, self.betas)
        with faults.gathered():
            return _opened(layout, rois, self.attention_order, True, faults)
        return None

    def folders(self) -> Sequence[str]:
        """Return the folders of the session, and those of NSD that it needs."""
        name = f"subj{self.subject:02d}"
        return (
            f"nsddata_betas/ppdata/{name}/{self.space}/nsdimagery{self.betas}",
            f"nsddata_betas/ppdata/{name}/{self.space}/{self.betas}",
            f"nsddata/ppdata/{name}",
            f"nsddata/freesurfer/{name}/label",
            f"nsddata/freesurfer/{self.space}/label",
            "nsddata/bdata/nsdimagery",
            "nsddata/experiments/nsdimagery",
            "nsddata_stimuli/stimuli/nsd",
        )


def _opened(
    layout: ImageryLayout,
    rois: str | Sequence[str],
    attention_order: AttentionOrder,
    leave_out: bool,
    faults: Faults,
) -> Subject:
    """Open the session; the first fault is raised."""
    folder = layout.betas_folder
    if not folder.is_dir():
        raise UserError(
            f"{folder} does not exist: download NSD-Imagery's betas of {layout.name} into the "
            "tree, or name another version of the betas."
        )
    _require_inside(layout)
    n_trials, *shape = session_shape(layout, _SESSION)
    if n_trials != N_BETAS:
        raise UserError(
            f"{layout.session(_SESSION)[0]} holds {n_trials} betas, and NSD-Imagery has "
            f"{N_BETAS}: replace the file."
        )
    tables = {run: _letters(layout, run, faults) for run in RUNS}
    trials = imagery_trials(tables, attention_order)
    files = [] if layout.is_surface else layout.session(_SESSION)
    grids = [read_grid(file, faults) for file in files if file.suffix != ".hdf5"]
    voxels, affine = faults.require(voxel_table(layout, rois, tuple(shape), grids, faults))
    faults.raise_first()
    faults.note(
        f"Attention runs: cue and detection betas are taken as {attention_order}; no source "
        "states their order (unverified)."
    )
    stimuli = ImageryStimuli(layout, _images_of(layout, faults))
    opened = Subject(
        layout.name, trials, voxels, layout.space, NsdBetas(layout, voxel_indices(voxels, layout)),
        stimuli, tuple(shape), affine,
        origin=origin_of(
            layout.root, NSD, "all trials are of the imagery session",
            "percent signal change (integers are divided by 300)", faults,
        ),
    )  # fmt: skip
    remedy = "replace the file of session {session}."
    selected = leave_out_empty(opened, [_SESSION] if leave_out else [], remedy, faults)
    opened = faults.require(selected)
    ncsnr = valid_ncsnr(opened.voxels["ncsnr"].to_numpy(float), layout, faults)
    return replace(opened, voxels=opened.voxels.assign(ncsnr=ncsnr), notes=faults.notes)


def imagery_trials(
    tables: dict[str, pd.DataFrame], attention_order: AttentionOrder = "interleaved"
) -> pd.DataFrame:
    """Return one row per beta, in the order of the betas, from the tables of the twelve runs.

    Each table has 48 rows with the columns ``letter`` and ``button``.
    """
    parts = []
    for number, run in enumerate(RUNS, 1):
        table = tables[run]
        if run.startswith("att"):
            events: list[Task] = ["attention-cue", "attention-detection"]
            twice = pd.concat([table.assign(task=event) for event in events])
            if attention_order == "interleaved":
                twice = twice.sort_index(kind="stable")
            table = twice
        else:
            table = table.assign(task=_TASKS[run[:3]])
        parts.append(table.assign(run=number, run_name=run, set=run[3]))
    rows = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(
        {
            "stimulus_id": rows["set"] + "-" + rows["letter"],
            "session": _SESSION,
            "run": rows["run"],
            "split": "test",
            "task": rows["task"],
            "set": rows["set"],
            "run_name": rows["run_name"],
            "button": rows["button"],
        }
    )


@dataclass(frozen=True, eq=False)
class ImageryStimuli:
    """The images of sets A and B, and NSD's captions of those that NSD has."""

    layout: ImageryLayout
    files: dict[str, Path]  # the image of each stimulus that has one

    @cached_property
    def _nsd_ids(self) -> dict[str, str]:
        """NSD's 0-based id of each stimulus that NSD has: the number in its name counts from 1."""
        numbers = {i: _NSD_NUMBER.search(file.name) for i, file in self.files.items()}
        return {i: f"{int(m[1]) - 1:05d}" for i, m in numbers.items() if m and int(m[1]) > 0}

    @cached_property
    def _nsd(self) -> NsdStimuli:
        return NsdStimuli(self.layout, tuple(sorted(self._nsd_ids.values())))

    @property
    def has_captions(self) -> bool:
        """Whether NSD's captions are there."""
        return self._nsd.has_captions

    def iter_pictures(self, stimulus_ids: Sequence[str]) -> Iterator[NDArray[Any]]:
        """Yield images (height, width, 3), uint8, one at a time."""
        for stimulus_id in stimulus_ids:
            if stimulus_id not in self.files:
                raise UserError(
                    f"{self.layout.name}: stimulus {stimulus_id} of NSD-Imagery has no image in "
                    f"{self.layout.image_folder(stimulus_id[0])}."
                )
            yield read_image(self.files[stimulus_id])

    def captions(self, stimulus_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return NSD's captions; stimuli that NSD does not have raise."""
        faults = Faults()
        self.missing_captions(stimulus_ids, faults)
        faults.raise_first()
        return self._nsd.captions([self._nsd_ids[i] for i in stimulus_ids])

    def missing_images(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without an image; those of set C have none by design."""
        missing = tuple(i for i in stimulus_ids if i not in self.files)
        absent = [i for i in missing if i[0] in _IMAGES]
        if absent:
            faults.add(
                f"{self.layout.image_folder(absent[0][0])} has no image of stimulus {absent[0]} "
                f"({len(absent)} are missing): download rawtargetimages."
            )
        return missing

    def missing_captions(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without a caption, and add one fault."""
        missing = tuple(i for i in stimulus_ids if i not in self._nsd_ids)
        if missing:
            faults.add(
                f"{self.layout.name}: stimulus {missing[0]} of NSD-Imagery has no caption "
                f"({len(missing)} of {len(stimulus_ids)} have none): only NSD's images have."
            )
        return missing

    def conversions(self, stimulus_ids: Sequence[str]) -> dict[str, int]:
        """Count the images that reading changes: none, for all are 8-bit RGB."""
        return {}

    def captioned(self, stimulus_ids: Sequence[str]) -> list[str]:
        """Return the stimuli that have captions."""
        return [i for i in stimulus_ids if i in self._nsd_ids] if self.has_captions else []


def _require_inside(layout: ImageryLayout) -> None:
    """Raise if a link among the tables or images leads out of the data's folder."""
    layout.require_inside([_SESSION])
    folders = [layout.image_folder(name) for name in _IMAGES]
    images = [file for folder in folders if folder.is_dir() for file in folder.iterdir()]
    require_inside(layout.root, [*(layout.table(run) for run in RUNS), *images])


def _letters(layout: ImageryLayout, run: str, faults: Faults) -> pd.DataFrame:
    """Read the cue letter of each trial of a run, and its button where that is a number."""
    path, letters = layout.table(run), LETTERS[run[3]]
    require_file(path, "add NSD-Imagery's tables of trials")
    columns = ["CONDITION", "BUTTON"]
    try:
        table = read_csv(path, sep="\t", usecols=columns, dtype={"CONDITION": str})
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path} has no readable columns {', '.join(columns)} ({one_line(error)}): replace "
            "the file."
        ) from error
    letter = table["CONDITION"].astype(str).str.strip()
    if len(table) != N_TRIALS:
        raise UserError(f"{path} lists {len(table)} trials, not {N_TRIALS}: replace the file.")
    wrong = letter[~letter.isin(list(letters))]
    if len(wrong):
        raise UserError(
            f"{path}, line {wrong.index[0] + 2}: CONDITION is {wrong.iloc[0]!r}, and the cues of "
            f"set {run[3]} are {', '.join(letters)}: the file belongs to another run."
        )
    button = pd.to_numeric(table["BUTTON"], errors="coerce").astype(float)
    n_lost = int((button.isna() & table["BUTTON"].notna()).sum())
    if n_lost:
        faults.note(f"{path.name}: {n_lost} values of BUTTON are no number and count as missing.")
    return pd.DataFrame({"letter": letter, "button": button})


def _images_of(layout: ImageryLayout, faults: Faults) -> dict[str, Path]:
    """Find the image of each stimulus: as a run's table names it, or by NSD-Imagery's names."""
    found: dict[str, Path] = {}
    n_named = 0
    for name, patterns in _IMAGES.items():
        folder = layout.image_folder(name)
        if not folder.is_dir():
            continue
        named = _named_images(layout, name)
        n_named += len(named)
        for letter, pattern in zip(LETTERS[name], patterns, strict=True):
            files = [folder / named[letter]] if letter in named else sorted(folder.glob(pattern))
            if len(files) == 1 and is_there(files[0]):
                found[f"{name}-{letter}"] = files[0]
    n_all = sum(map(len, _IMAGES.values()))
    faults.note(
        f"{len(found)} of {n_all} images of sets A and B were found: {n_named} by the tables of "
        f"the vision runs, {len(found) - n_named} by the cue letters of public descriptions."
    )
    return found


def _named_images(layout: ImageryLayout, name: str) -> dict[str, str]:
    """Return the file that the table of a vision run names for each letter, if it names files."""
    path = layout.table(f"vis{name}")
    table = read_csv(path, sep="\t", dtype=str, usecols=lambda c: c in ("CONDITION", "IMAGEFILE"))
    if "IMAGEFILE" not in table:
        return {}
    named: dict[str, str] = {}
    for letter, file in zip(table["CONDITION"].str.strip(), table["IMAGEFILE"], strict=True):
        base = str(file).replace("\\", "/").rpartition("/")[2]
        if not base.endswith(".png") or not is_there(layout.image_folder(name) / base):
            continue
        if named.setdefault(letter, base) != base:
            raise UserError(
                f"{path} names two images for cue {letter}, {named[letter]} and {base}: "
                "replace the file."
            )
    return named
