"""The stages of ``vox2pix encode``, one file each, in the order of the work."""

from vox2pix.pipeline.encode._1_data import DATA, TARGETS
from vox2pix.pipeline.encode._2_denoise import DENOISE
from vox2pix.pipeline.encode._3_reduce import REDUCE
from vox2pix.pipeline.encode._4_average import AVERAGE
from vox2pix.pipeline.encode._5_fit import FIT
from vox2pix.pipeline.encode._6_unique import UNIQUE
from vox2pix.pipeline.encode._7_maps import TABLES
from vox2pix.pipeline.encode._8_figures import FIGURES, REPORT, draw_figures

STAGES = (DATA, TARGETS, DENOISE, REDUCE, AVERAGE, FIT, UNIQUE, TABLES, FIGURES, REPORT)

__all__ = ["STAGES", "draw_figures"]
