"""The named protocols of an experiment: every departure from the default, in one place.

Stages take what a protocol decides from here. What it presets (penalties, posterior of z, noise
schedule) an experiment file may override; the rest is fixed by its name.

===================  =====================================================================
field                honoured by
===================  =====================================================================
``presets``          the settings named there, in every stage that reads them
``released_ridge``   decode, audit-decoding (the decoder of the released code)
``beta_scale``       decode, audit-decoding, explore; scores of encoding models do not
                     depend on the unit of the responses
``one_noise``        generate, audit-drawing, explore, trace (z_c and layers)
``truncates``        generate, audit-drawing, explore (coarse and final image)
``samples_start``    generate, audit-drawing, explore (z_c starts from z itself)
``precision``        features and all that follow: another ``compute.dtype`` is refused
``by_image``         decode (prints prediction accuracy by image, too)
===================  =====================================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunProtocol:
    """What a named protocol decides.

    Attributes
    ----------
    name : str
        As ``protocol`` names it in an experiment file, and metrics in their records.
    presets : mapping
        Tables of the experiment file with the settings that the protocol presets.
    released_ridge : bool
        Whether the decoder has no intercept and chooses by folds through repeats
        (:meth:`vox2pix.decoding.RidgeDecoder.takagi2023`).
    beta_scale : float
        What percent signal change is multiplied by before decoding.
    one_noise : bool
        Whether every image starts from the same noise.
    truncates : bool
        Whether images are cut off to 8 bit, not rounded.
    samples_start : bool
        Whether the coarse image is encoded by a draw from the posterior, not by its mode.
    precision : str or None
        The only ``compute.dtype`` that it was made in.
    by_image : bool
        Whether "prediction accuracy" is also given as the mean over test images of r across
        features, as the authors computed it.
    """

    name: str
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    released_ridge: bool = False
    beta_scale: float = 1.0
    one_noise: bool = False
    truncates: bool = False
    samples_start: bool = False
    precision: str | None = None
    by_image: bool = False


RUN_PROTOCOLS: dict[str, RunProtocol] = {
    "default": RunProtocol("default"),
    # Takagi & Nishimoto (CVPR 2023), as their code was released.
    "takagi2023": RunProtocol(
        "takagi2023",
        presets={
            "model": {"z_posterior": "sample"},
            "decode": {"alphas": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0), "selection": "cv"},
            "generate": {"schedule": "takagi2023"},
        },
        released_ridge=True,
        beta_scale=300.0,
        one_noise=True,
        truncates=True,
        samples_start=True,
        precision="float32",
        by_image=True,
    ),
}
