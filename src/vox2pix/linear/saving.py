"""A fitted estimator as plain arrays, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from vox2pix.linear.settings import RidgeSettings

PER_TARGET = ("coef", "mean", "alpha", "error")
"""The arrays of a fitted estimator that have one row per target; all targets share the others."""
SAVED = (*PER_TARGET, "alphas", "offset", "dropped", "power")


class SavedAsArrays(RidgeSettings):
    """What a ridge estimator needs to be saved."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted estimator as plain arrays, for ``np.savez`` or safetensors.

        ``settings`` (uint8) is JSON in UTF-8: nothing is pickled.
        """
        check_is_fitted(self, "coef_")
        settings = {k: v for k, v in self.get_params().items() if k != "device"}
        if self.alphas is not None:
            settings["alphas"] = np.ravel(self._given_alphas()).tolist()
        if "reliability_powers" in settings:
            settings["reliability_powers"] = list(self._powers)
        settings["n_features_in"] = int(self.n_features_in_)
        settings["feature_names_in"] = [str(n) for n in getattr(self, "feature_names_in_", [])]
        saved = {name: np.asarray(getattr(self, f"{name}_")) for name in SAVED}
        if self.reliability_ is not None:
            saved["reliability"] = self.reliability_
        saved["settings"] = np.frombuffer(json.dumps(settings).encode(), np.uint8).copy()
        return saved

    @classmethod
    def from_arrays(cls, saved: Mapping[str, ArrayLike]) -> Self:
        """Rebuild a fitted estimator from what :meth:`to_arrays` returned.

        ``saved`` may also be what ``np.load`` or ``safetensors.numpy.load_file`` read back.
        """
        missing = [name for name in (*SAVED, "settings") if name not in saved]
        if missing:
            raise ValueError(f"The saved {cls.__name__} lacks {', '.join(missing)}.")
        settings = json.loads(np.asarray(saved["settings"], np.uint8).tobytes().decode())
        n_features = settings.pop("n_features_in")
        names = settings.pop("feature_names_in")
        if "reliability_powers" in settings:
            settings["reliability_powers"] = tuple(settings["reliability_powers"])
        estimator = cls(**settings)
        for name in SAVED:
            value = np.asarray(saved[name])
            setattr(estimator, f"{name}_", value if value.ndim else value[()])
        estimator.power_ = np.asarray(saved["power"]).item()  # some formats know no 0 dimensions
        has_weights = "reliability" in saved
        estimator.reliability_ = np.asarray(saved["reliability"]) if has_weights else None
        estimator.n_features_in_ = n_features
        if names:
            estimator.feature_names_in_ = np.asarray(names, dtype=object)
        return estimator
