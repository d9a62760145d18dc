"""Every hostile input."""

from hostile_arrays import hdf5_cases, number_cases, zarr_cases
from hostile_cases import Hostile
from hostile_media import image_cases, model_cases, text_cases, volume_cases


def cases() -> list[Hostile]:
    """List every case."""
    return [
        *zarr_cases(),
        *hdf5_cases(),
        *number_cases(),
        *image_cases(),
        *volume_cases(),
        *model_cases(),
        *text_cases(),
    ]
