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
from vox2pix.targets._reduction import DIRECTIONS_AT_ONCE, Reduction, fit_pca, reduced
from vox2pix.targets._registry import TARGETS, find_target, make_targets, register, usable
from vox2pix.targets._rows import (
    ROWS_A_FILE,
    FeatureRows,
    blocks,
    content_key,
    feature_folder,
)
from vox2pix.targets._start import encode_start
from vox2pix.targets._stored import HELD_BYTES, StoredFeatures
from vox2pix.targets._target import StartSettings, Target
from vox2pix.targets._trace import (
    DENOISED,
    MAX_FEATURES,
    Latent,
    TracePlan,
    Tracing,
    trace_bytes,
)

__all__ = [
    "DENOISED",
    "DIRECTIONS_AT_ONCE",
    "HELD_BYTES",
    "MAX_FEATURES",
    "ROWS_A_FILE",
    "TARGETS",
    "Condition",
    "Distortion",
    "FeatureRows",
    "Latent",
    "Reduction",
    "StartSettings",
    "StoredFeatures",
    "Target",
    "TracePlan",
    "Tracing",
    "blocks",
    "ceilings_of",
    "check_ports",
    "conditions_of",
    "content_key",
    "default_ceilings",
    "default_conditions",
    "encode_start",
    "feature_folder",
    "find_target",
    "fit_pca",
    "fullest",
    "make_targets",
    "parse_condition",
    "reduced",
    "register",
    "targets_of",
    "trace_bytes",
    "usable",
]
