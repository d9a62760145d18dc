"""Data in any layout, as a command line names them; and the command that imports them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vox2pix.cli.app import console, data_app, local_folder, to_stderr
from vox2pix.cli.bars import Bars
from vox2pix.cli.terminal import bold, shown
from vox2pix.errors import UserError

if TYPE_CHECKING:
    from vox2pix.data import Source

Place = Annotated[
    str, typer.Argument(metavar="PATH", help="Root or folder of the data; a path or a URL.")
]
Layout = Annotated[
    str | None,
    typer.Option(
        help="Layout: nsd, folder, glmsingle, bids ...", show_default="by the files that are there"
    ),
]
Subject = Annotated[int, typer.Option(min=1, help="Whose data, in NSD's layout.")]
Sessions = Annotated[
    int | None, typer.Option(min=1, help="Only the first so many.", show_default="all")
]
Space = Annotated[str, typer.Option(help="Space of the voxels.")]
Betas = Annotated[str, typer.Option(help="Version of the responses.")]
Rois = Annotated[
    str | None,
    typer.Option(
        help="Folder of masks and label images, or a table; in NSD's layout regions by name, "
        "joined by commas.",
        show_default="early,ventral in NSD's layout",
    ),
]
Stimuli = Annotated[
    str | None, typer.Option(help="Table: which stimulus a condition or trial showed.")
]
Images = Annotated[str | None, typer.Option(help="Folder of images, or an array file.")]
Captions = Annotated[str | None, typer.Option(help="Table of captions.")]
Test = Annotated[
    str | None, typer.Option(help="Hold out for test: a share (0.1), or a file that lists stimuli.")
]
OWN_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of a command that takes the options of one layout, such as ``--stimulus-column``."""

_NSD_ROIS = ("early", "ventral")


def named_source(
    path: str,
    layout: str | None,
    given: dict[str, Any],
    rois: str | None,
    extra: Sequence[str],
) -> tuple["Source", tuple[str, ...]]:
    """Return the data that a command line names, and the regions to open.

    ``given`` are settings by their names in ``[data]``, None where absent; ``extra`` are further
    words of the command line, the options of one layout.
    """
    from vox2pix.buckets import as_path
    from vox2pix.config import DataConfig
    from vox2pix.data import find_source, recognised, source_of

    root = as_path(path)
    kind = find_source(layout) if layout else recognised(root)
    regions: tuple[str, ...] = _NSD_ROIS
    if rois is not None and "rois" in kind.model_fields:
        given = given | {"rois": rois}
    elif rois is not None:
        regions = tuple(name.strip() for name in rois.split(",") if name.strip())
    if given.get("test") is not None:
        given = given | {"test": _share_or_file(str(given["test"]))}
    settings = {name: value for name, value in given.items() if value is not None}
    data = DataConfig.model_validate(
        {"source": kind.name, "path": path, "options": own_options(extra), **settings}
    )
    return source_of(data, root), regions


def _share_or_file(text: str) -> float | str:
    try:
        share = float(text)
    except ValueError:
        return text
    if not 0 < share < 1:
        raise UserError(f"--test is {text}: give a share between 0 and 1, or a file.")
    return share


def own_options(words: Sequence[str]) -> dict[str, str]:
    """Return the options that only one layout has, from words such as ``--mask brain.nii.gz``."""
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise UserError(f"{word!r} is no option: name one path, and options with two hyphens.")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"--{name} has no value: write --{name} VALUE.")
            value = rest.pop(0)
        options[name.replace("-", "_")] = value
    return options


@data_app.command("import", context_settings=OWN_OPTIONS)
def import_data(
    context: typer.Context,
    path: Place,
    out: Annotated[Path, typer.Option(help="The folder to write: arrays, tables and images.")],
    source: Layout = None,
    stimuli: Stimuli = None,
    images: Images = None,
    captions: Captions = None,
    rois: Rois = None,
    test: Test = None,
    subject: Subject = 1,
    sessions: Sessions = None,
    space: Space = "func1pt8mm",
    betas: Betas = "betas_fithrf_GLMdenoise_RR",
) -> None:
    """Write data of any layout as a folder of your own data, to look at and to edit.

    Options of one layout follow as --NAME VALUE, such as --participant 01 or --stimulus-column
    stim_file for BIDS; docs/configuration.md lists them as data.options.
    """
    from vox2pix.data import write_folder
    from vox2pix.store import require_replaceable

    folder = local_folder(out)
    require_replaceable(folder, "imported")
    given = {
        "stimuli": stimuli, "images": images, "captions": captions, "test": test,
        "subject": subject, "sessions": sessions, "space": space, "betas": betas,
    }  # fmt: skip
    opened, regions = named_source(path, source, given, rois, context.args)
    person = opened.open(regions)
    with Bars(to_stderr(), transient=True) as bars:
        changed = write_folder(
            person,
            folder,
            progress=lambda what, done, total: bars.track(f"writing {what}", done, total),
        )
    for note in (*person.notes, *changed):
        console.say(f"Note: {shown(note)}")
    console.say(
        f"{shown(person.name)}: {len(person.trials):,} trials of {len(person.voxels):,} voxels in ",
        bold(folder),
    )
    console.say(f"Check them: vox2pix data check {shown(folder)}")
