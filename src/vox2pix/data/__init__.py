"""Readers: every one returns a :class:`Subject`."""

from vox2pix.data.check import CheckReport, check
from vox2pix.data.folder import is_of_folder, open_folder
from vox2pix.data.nsd import open_nsd
from vox2pix.data.reliability import noise_ceiling
from vox2pix.data.sessions import standardized_by_session
from vox2pix.data.subject import Split, Subject, mean_betas_of

__all__ = [
    "CheckReport",
    "Split",
    "Subject",
    "check",
    "is_of_folder",
    "mean_betas_of",
    "noise_ceiling",
    "open_folder",
    "open_nsd",
    "standardized_by_session",
]
