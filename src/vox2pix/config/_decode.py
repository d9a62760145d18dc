"""The table ``[decode]`` of an experiment file, and the tables of its targets."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from vox2pix.config._names import suggest
from vox2pix.config._tables import Table

_DEFAULT_ROIS = {"z": ("early",), "c": ("ventral",)}
"""What is decoded, and from where, if an experiment names no target."""


class TargetConfig(Table):
    """How one target is decoded; further keys are the target's own settings.

    :func:`vox2pix.targets.targets_of` checks these, as each target says which it has.
    """

    model_config = ConfigDict(extra="allow")

    rois: tuple[str, ...] = Field(description="regions whose voxels predict it")

    @property
    def settings(self) -> dict[str, Any]:
        """The target's own settings."""
        return dict(self.model_extra or {})


class DecodeConfig(Table):
    """Which targets are decoded, each in a table ``[decode.NAME]``, and how.

    ``NAME = ["region", ...]`` is short for a table with ``rois`` alone. Without any target these
    are z from ``early`` and c from ``ventral``.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, TargetConfig] = Field(init=False)

    alphas: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = Field(
        default=None, description="ridge penalties to choose from; the decoder's own if absent"
    )
    selection: Literal["gcv", "cv"] = Field(
        default="gcv", description="generalised cross-validation, or folds grouped by stimulus"
    )
    alpha_per_target: bool = Field(
        default=True, description="a penalty for each value of a target, or one for all"
    )
    standardize: Literal["train", "session"] = Field(
        default="train",
        description="z-score voxels over all training trials, or first within each session, by "
        "that session's training trials",
    )
    reliability_powers: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = Field(
        default=(0.0,),
        description="exponents of voxels' reliability to choose a weighting from, such as "
        "[0, 0.5, 1]; [0] weights voxels alike",
    )
    min_reliability: PositiveFloat | None = Field(
        default=None, description="leave voxels of less reliability (ncsnr) out"
    )
    reliability: Literal["training", "published"] = Field(
        default="training",
        description="ncsnr from the repeats of training images, or as it comes with the data "
        "(NSD's includes test trials)",
    )

    @model_validator(mode="before")
    @classmethod
    def _tables_of_targets(cls, raw: Any) -> Any:
        return in_full(raw) if isinstance(raw, dict) else raw

    @property
    def uses_reliability(self) -> bool:
        """Whether voxels are weighted or left out by their reliability."""
        return any(self.reliability_powers) or self.min_reliability is not None

    @model_validator(mode="after")
    def _reliability_is_used(self) -> "DecodeConfig":
        if self.reliability == "published" and not self.uses_reliability:
            raise ValueError(
                "decode.reliability has no effect: set decode.reliability_powers, such as "
                "[0, 0.5, 1], or decode.min_reliability."
            )
        return self

    @property
    def targets(self) -> dict[str, TargetConfig]:
        """What is decoded, by name."""
        return dict(self.__pydantic_extra__)

    @property
    def rois(self) -> dict[str, tuple[str, ...]]:
        """The regions that predict each target."""
        return {name: target.rois for name, target in self.targets.items()}


def in_full(decode: dict[str, Any]) -> dict[str, Any]:
    """Return the table ``[decode]`` with a table for every target that is decoded.

    A key that is neither a setting nor, by its value, a target raises a ValueError.
    """
    own = {key: value for key, value in decode.items() if key in DecodeConfig.model_fields}
    targets = {key: value for key, value in decode.items() if key not in own}
    for name, value in (targets or _DEFAULT_ROIS).items():
        if isinstance(value, TargetConfig):
            own[name] = value
        elif isinstance(value, dict):
            rois = {"rois": _DEFAULT_ROIS[name]} if name in _DEFAULT_ROIS else {}
            own[name] = rois | value
        elif _is_names(value):
            own[name] = {"rois": value}
        else:
            raise ValueError(
                f"there is no setting 'decode.{name}'; {suggest(name, DecodeConfig.model_fields)} "
                f"A target is given as decode.{name} = [regions] or as a table [decode.{name}]."
            )
    return own


def _is_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
