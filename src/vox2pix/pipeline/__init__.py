"""Where the rooms meet: the stages of a reconstruction and of an encoding analysis.

``commands`` holds what the command line and the front door call.
"""

from vox2pix.pipeline._plan import Plan
from vox2pix.pipeline.costs import Cost
from vox2pix.pipeline.reporter import Reporter, Silent
from vox2pix.pipeline.run import Run, open_run, open_subject

__all__ = ["Cost", "Plan", "Reporter", "Run", "Silent", "open_run", "open_subject"]
