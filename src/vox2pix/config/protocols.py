"""The named protocols of an experiment: every departure from the default, in one place.

An experiment file may override what a protocol presets; the rest is fixed by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunProtocol:
    """What a named protocol changes, and the stages that honour it.

    Attributes
    ----------
    name : str
        As ``protocol`` names it in an experiment file, and metrics in their records.
    presets : mapping
        Settings by table of the experiment file; honoured by every stage that reads them.
    target_settings : mapping
        Settings by target, under ``[decode.NAME]``, for those that are decoded (features).
    released_ridge : bool
        Whether the decoder has no intercept and chooses by folds through repeats
        (:meth:`vox2pix.decoding.RidgeDecoder.takagi2023`; decoding, also for the audit).
    beta_scale : float
        What percent signal change is multiplied by before decoding (decoding, also for the
        audit; explore). Scores of encoding models do not depend on the unit of the responses.
    one_noise : bool
        Whether every image starts from the same noise (drawing, explore, z_c and layers).
    truncates : bool
        Whether the start's image and the final image are cut off to 8 bit instead of rounded
        (drawing, explore).
    samples_start : bool
        Whether the start's image is encoded by a draw from the posterior instead of its mode
        (drawing, explore; z_c starts from z itself).
    precision : str or None
        The only ``compute.dtype`` that it was made in; another one is refused.
    by_image : bool
        Whether "prediction accuracy" is also given as the mean over test images of r across
        features, as the authors computed it (decoding prints it).
    scored_as : str
        The protocol of evaluation by which samples are joined and chance is taken (scoring).
    """

    name: str
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    target_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    released_ridge: bool = False
    beta_scale: float = 1.0
    one_noise: bool = False
    truncates: bool = False
    samples_start: bool = False
    precision: str | None = None
    by_image: bool = False
    scored_as: str = "default"


TAKAGI_2023 = RunProtocol(
    "takagi2023",
    presets={
        "decode": {"alphas": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0), "selection": "cv"},
        "generate": {"schedule": "takagi2023"},
    },
    target_settings={"z": {"posterior": "sample"}},
    released_ridge=True,
    beta_scale=300.0,
    one_noise=True,
    truncates=True,
    samples_start=True,
    precision="float32",
    by_image=True,
    scored_as="takagi2023",
)
"""Takagi & Nishimoto (CVPR 2023), as their code was released."""

RUN_PROTOCOLS: dict[str, RunProtocol] = {
    protocol.name: protocol for protocol in (RunProtocol("default"), TAKAGI_2023)
}
