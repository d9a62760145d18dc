"""Readers: every one returns a :class:`Subject`."""

from vox2pix.data.check import CheckReport, check
from vox2pix.data.folder import open_folder
from vox2pix.data.nsd import open_nsd
from vox2pix.data.reliability import noise_ceiling
from vox2pix.data.subject import Split, Subject

__all__ = [
    "CheckReport",
    "Split",
    "Subject",
    "check",
    "noise_ceiling",
    "open_folder",
    "open_nsd",
]
