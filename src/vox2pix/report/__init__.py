"""What a run looks like: the page that people open first, and contact sheets."""

from vox2pix.report._contact_sheet import Rows, choose_rows, contact_sheet, save_sheet
from vox2pix.report.comparison import (
    ComparisonRow,
    compare_folders,
    comparison_note,
    comparison_source,
    difference_records,
    in_words,
    is_pooled,
    pool_folders,
)
from vox2pix.report.gallery import Nearest, load_gallery, save_gallery
from vox2pix.report.labels import Label, label
from vox2pix.report.page import write_report

__all__ = [
    "ComparisonRow",
    "Label",
    "Nearest",
    "Rows",
    "choose_rows",
    "compare_folders",
    "comparison_note",
    "comparison_source",
    "contact_sheet",
    "difference_records",
    "in_words",
    "is_pooled",
    "label",
    "load_gallery",
    "pool_folders",
    "save_gallery",
    "save_sheet",
    "write_report",
]
