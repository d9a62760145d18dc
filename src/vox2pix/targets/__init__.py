"""What is decoded from the brain and taken by a generator, and other latents of the model."""

from vox2pix.targets._conditions import (
    Condition,
    check_ports,
    default_ceilings,
    default_conditions,
    fullest,
    parse_condition,
)
from vox2pix.targets._experiment import ceilings_of, conditions_of, targets_of
from vox2pix.targets._projection import Distortion
from vox2pix.targets._reduction import Reduction, fit_pca, reduced
from vox2pix.targets._registry import TARGETS, find_target, make_targets, register, usable
from vox2pix.targets._rows import FeatureRows
from vox2pix.targets._start import encode_start
from vox2pix.targets._stored import StoredFeatures
from vox2pix.targets._target import StartSettings, Target
from vox2pix.targets._trace import Latent, Trace, TracePlan, Tracing, trace, trace_bytes

__all__ = [
    "TARGETS",
    "Condition",
    "Distortion",
    "FeatureRows",
    "Latent",
    "Reduction",
    "StartSettings",
    "StoredFeatures",
    "Target",
    "Trace",
    "TracePlan",
    "Tracing",
    "ceilings_of",
    "check_ports",
    "conditions_of",
    "default_ceilings",
    "default_conditions",
    "encode_start",
    "find_target",
    "fit_pca",
    "fullest",
    "make_targets",
    "parse_condition",
    "reduced",
    "register",
    "targets_of",
    "trace",
    "trace_bytes",
    "usable",
]
