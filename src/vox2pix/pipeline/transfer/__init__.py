"""The stages of ``vox2pix transfer``, one file each, in the order of the work."""

from vox2pix.pipeline.transfer._1_data import DATA
from vox2pix.pipeline.transfer._2_decode import DECODE
from vox2pix.pipeline.transfer._3_reliability import RELIABILITY
from vox2pix.pipeline.transfer._4_draw import DRAW
from vox2pix.pipeline.transfer._5_identify import IDENTIFY
from vox2pix.pipeline.transfer._6_report import REPORT

STAGES = (DATA, DECODE, RELIABILITY, DRAW, IDENTIFY, REPORT)

__all__ = ["STAGES"]
