"""The diffusion model's latents over a set of stimuli, computed once and shared by all runs."""

from vox2pix.targets._trace import Latent, Trace, TracePlan, Tracing, trace, trace_bytes
from vox2pix.targets.extract import FeatureRows, conditioning_rows, latent_rows
from vox2pix.targets.projection import Distortion
from vox2pix.targets.reduction import Reduction, fit_pca, reduced
from vox2pix.targets.stored import StoredFeatures

__all__ = [
    "Distortion",
    "FeatureRows",
    "Latent",
    "Reduction",
    "StoredFeatures",
    "Trace",
    "TracePlan",
    "Tracing",
    "conditioning_rows",
    "fit_pca",
    "latent_rows",
    "reduced",
    "trace",
    "trace_bytes",
]
