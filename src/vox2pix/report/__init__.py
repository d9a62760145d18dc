"""What a run looks like: contact sheets, and later the page."""

from vox2pix.report.contact_sheet import Rows, choose_rows, contact_sheet, save_sheet

__all__ = ["Rows", "choose_rows", "contact_sheet", "save_sheet"]
