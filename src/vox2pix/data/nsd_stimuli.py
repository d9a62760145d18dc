"""NSD's images and their COCO captions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vox2pix.data.faults import Faults
from vox2pix.data.images import as_rgb
from vox2pix.data.nsd_layout import NsdLayout
from vox2pix.data.volumes import hdf5_shape, is_there
from vox2pix.errors import UserError
from vox2pix.untrusted.damage import damage_message
from vox2pix.untrusted.files import one_line
from vox2pix.untrusted.hdf5 import open_hdf5
from vox2pix.untrusted.tables import read_csv
from vox2pix.untrusted.text import read_json

_LARGEST_CAPTIONS = 2**30
COCO_SPLITS = ("train2017", "val2017")


@dataclass(frozen=True, eq=False)
class NsdStimuli:
    """Images read row by row, and captions by way of COCO's ids."""

    layout: NsdLayout  # where the files are
    stimulus_ids: tuple[str, ...]  # those of the subject; captions of others are dropped

    def require_in_range(self) -> None:
        """Raise if a stimulus is beyond the last image; pass if there are no images."""
        path = self.layout.images
        if not path.is_file():
            return
        n_images = _n_images(hdf5_shape(path, "imgBrick"), path)
        beyond = [i for i in self.stimulus_ids if int(i) >= n_images]
        if beyond:
            raise UserError(
                f"{self.layout.design} names stimulus {int(beyond[-1]) + 1} (counted from 1), but "
                f"{path} holds {n_images}: an index is off by one or the files belong to "
                "different data."
            )

    def iter_pictures(self, stimulus_ids: Sequence[str]) -> Iterator[NDArray[Any]]:
        """Yield images (height, width, 3), uint8, one row of the file at a time."""
        path = self.layout.images
        with open_hdf5(path, "imgBrick") as bricks:
            n_images = _n_images(bricks.shape, path)
            for stimulus_id in stimulus_ids:
                if not stimulus_id.isdecimal() or int(stimulus_id) >= n_images:
                    raise UserError(
                        f"{path} has no image of stimulus {stimulus_id!r}: "
                        f"ids go from 0 to {n_images - 1}."
                    )
                yield as_rgb(bricks[int(stimulus_id)], f"{path}, image {stimulus_id}")

    def missing_images(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without an image, and add one fault."""
        path = self.layout.images
        n_images = 0
        with faults.gathered():
            n_images = _n_images(hdf5_shape(path, "imgBrick"), path)
            missing = tuple(i for i in stimulus_ids if not i.isdecimal() or int(i) >= n_images)
            if missing and path.is_file():
                self.require_in_range()
            return missing
        return tuple(stimulus_ids)

    def missing_captions(self, stimulus_ids: Sequence[str], faults: Faults) -> tuple[str, ...]:
        """Return the stimuli without a caption, and add one fault."""
        with faults.gathered():
            missing = tuple(i for i in stimulus_ids if not self._captions.get(i))
            if missing:
                faults.add(self._no_caption(missing, len(stimulus_ids)))
            return missing
        return tuple(stimulus_ids)

    def _no_caption(self, missing: Sequence[str], n_all: int) -> str:
        more = f" ({len(missing)} of {n_all} stimuli have none)" if len(missing) > 1 else ""
        return (
            f"{self.layout.captions('*')} have no caption of stimulus {missing[0]!r}{more}: add "
            "COCO's caption files of both splits, or leave captions out."
        )

    def conversions(self, stimulus_ids: Sequence[str]) -> dict[str, int]:
        """Count the images that reading changes: none, for all are 8-bit RGB."""
        return {}

    @property
    def has_captions(self) -> bool:
        """Whether the table of stimuli and at least one caption file are there."""
        files = (self.layout.captions(split) for split in COCO_SPLITS)
        return is_there(self.layout.stimulus_info) and any(is_there(file) for file in files)

    def captions(self, stimulus_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the captions of each stimulus, in the order of COCO's file."""
        missing = [i for i in stimulus_ids if not self._captions.get(i)]
        if missing:
            raise UserError(self._no_caption(missing, len(stimulus_ids)))
        return [self._captions[i] for i in stimulus_ids]

    @cached_property
    def _captions(self) -> dict[str, tuple[str, ...]]:
        """Captions of the subject's stimuli; what COCO's files hold beside is dropped."""
        info = self._coco_ids
        captions: dict[str, tuple[str, ...]] = {}
        for split, rows in info.groupby("cocoSplit"):
            path = self.layout.captions(str(split))
            if not is_there(path):
                continue
            by_coco_id: dict[int, list[str]] = {int(i): [] for i in rows["cocoId"]}
            for image, caption in _read_annotations(path):
                if image in by_coco_id:
                    by_coco_id[image].append(" ".join(caption.split()))
            for nsd_id, coco_id in zip(rows["nsdId"], rows["cocoId"], strict=True):
                captions[f"{nsd_id:05d}"] = tuple(by_coco_id[int(coco_id)])
        return captions

    @cached_property
    def _coco_ids(self) -> pd.DataFrame:
        """COCO's split and id of each of the subject's stimuli."""
        path = self.layout.stimulus_info
        columns = ["nsdId", "cocoId", "cocoSplit"]
        try:
            table = read_csv(path, usecols=columns).astype({"nsdId": int, "cocoId": int})
        except FileNotFoundError:
            raise UserError(f"{path} does not exist: add NSD's table of stimuli.") from None
        except (ValueError, OSError, OverflowError) as error:
            raise UserError(
                f"{path} has no columns {', '.join(columns)} ({one_line(error)}): replace the file."
            ) from error
        own = np.isin(table["nsdId"], [int(i) for i in self.stimulus_ids])
        return table[own]


def _n_images(shape: tuple[int, ...], path: Path) -> int:
    """Return how many images an array of this shape holds."""
    if len(shape) < 3:
        raise UserError(
            f"{path} has shape {shape}, not (n_images, height, width, 3): replace the file."
        )
    return shape[0]


def _read_annotations(path: Any) -> list[tuple[int, str]]:
    """Read image id and text of each caption of a COCO file."""
    try:
        content = read_json(path, _LARGEST_CAPTIONS)
        return [(int(a["image_id"]), str(a["caption"])) for a in content["annotations"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = "no file of COCO captions"
        raise UserError(damage_message(path, what, error, "download it again")) from error
