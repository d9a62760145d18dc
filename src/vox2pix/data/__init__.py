"""Readers: every one returns a :class:`Subject`."""

from vox2pix.data._registry import SOURCES, find_source, own_options, recognised, source_of
from vox2pix.data.bdata import open_bdata
from vox2pix.data.bids import open_bids
from vox2pix.data.check import CheckReport, check
from vox2pix.data.folder import open_folder
from vox2pix.data.glmsingle import open_glmsingle
from vox2pix.data.imported import write_folder
from vox2pix.data.nsd import open_nsd
from vox2pix.data.nsd_imagery import is_of_imagery, open_nsd_imagery
from vox2pix.data.reliability import noise_ceiling
from vox2pix.data.sessions import standardized_by_session
from vox2pix.data.source import Published, Source
from vox2pix.data.subject import Split, Subject, mean_betas_of
from vox2pix.data.things import open_things

__all__ = [
    "SOURCES",
    "CheckReport",
    "Published",
    "Source",
    "Split",
    "Subject",
    "check",
    "find_source",
    "is_of_imagery",
    "mean_betas_of",
    "noise_ceiling",
    "open_bdata",
    "open_bids",
    "open_folder",
    "open_glmsingle",
    "open_nsd",
    "open_nsd_imagery",
    "open_things",
    "own_options",
    "recognised",
    "source_of",
    "standardized_by_session",
    "write_folder",
]
