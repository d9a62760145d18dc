"""What a run looks like: the page that people open first, and contact sheets."""

from vox2pix.report.contact_sheet import Rows, choose_rows, contact_sheet, save_sheet
from vox2pix.report.gallery import Nearest, load_gallery, save_gallery
from vox2pix.report.page import write_report

__all__ = [
    "Nearest",
    "Rows",
    "choose_rows",
    "contact_sheet",
    "load_gallery",
    "save_gallery",
    "save_sheet",
    "write_report",
]
