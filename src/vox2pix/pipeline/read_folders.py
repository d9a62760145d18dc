"""Which folders of a data set an experiment reads."""

from pathlib import Path

from vox2pix.buckets import is_url
from vox2pix.config import DataConfig
from vox2pix.data import is_of_folder
from vox2pix.errors import UserError


def read_folders(data: DataConfig) -> list[str]:
    """List the folders below the root of the data whose files may be read.

    Parameters
    ----------
    data : DataConfig
        Not of the phantom.
    """
    if data.source == "folder":
        return ["."]
    subject = f"subj{data.subject:02d}"
    return [
        f"nsddata_betas/ppdata/{subject}/{data.space}/{data.betas}",
        f"nsddata/ppdata/{subject}",
        f"nsddata/freesurfer/{subject}/label",
        f"nsddata/freesurfer/{data.space}/label",
        "nsddata/experiments/nsd",
        "nsddata_stimuli/stimuli/nsd",
    ]


def require_outside_data(data: DataConfig, run_path: Path) -> None:
    """Refuse a run folder among files that are read as data: each run would change its own input.

    A run folder beside them, in the same folder, does no harm.

    Parameters
    ----------
    data : DataConfig
        What is read.
    run_path : Path
        The run folder.

    Raises
    ------
    UserError
        Naming both.
    """
    if data.path is None or is_url(data.path):
        return
    root, folder = data.root(run_path).resolve(), run_path.resolve()
    if not folder.is_relative_to(root):
        return
    name = folder.relative_to(root)
    if data.source == "folder":
        is_read = is_of_folder(name.as_posix())
    else:
        is_read = any(name.is_relative_to(read) for read in read_folders(data))
    if is_read:
        raise UserError(
            f"{folder} is among the files that are read as data ({root}); name a run folder "
            "elsewhere with --out."
        )
