"""The stages of ``vox2pix run``, one file each, in the order of the work."""

from vox2pix.pipeline.reconstruct._1_data import DATA
from vox2pix.pipeline.reconstruct._2_targets import TARGETS
from vox2pix.pipeline.reconstruct._3_decode import DECODE
from vox2pix.pipeline.reconstruct._4_controls import CONTROLS
from vox2pix.pipeline.reconstruct._5_draw import DRAW, DRAW_CONTROLS
from vox2pix.pipeline.reconstruct._6_score import SCORE
from vox2pix.pipeline.reconstruct._7_audit import AUDIT
from vox2pix.pipeline.reconstruct._8_report import GALLERY, REPORT, SHEET

STAGES = (
    DATA, TARGETS, DECODE, CONTROLS, DRAW, DRAW_CONTROLS, SCORE, AUDIT, SHEET, GALLERY, REPORT,
)  # fmt: skip

__all__ = ["STAGES"]
