"""MATLAB files up to version 7: matrices of numbers by name."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from scipy.io import loadmat, whosmat

from vox2pix.buckets import local_copy
from vox2pix.errors import UserError
from vox2pix.untrusted.files import (
    DEFLATE_RATIO,
    damage_named,
    require_file,
    require_memory,
)

_NUMBERS = (
    *("double", "single", "logical"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
_WIDEST = 8
_HDF5 = b"\x89HDF\r\n\x1a\n"


def is_matlab_hdf5(path: Path) -> bool:
    """Return whether a MATLAB file is of version 7.3: HDF5 after a block of 512 bytes."""
    require_file(path)
    with damage_named(path, "no MATLAB file", "download it again"):
        with local_copy(path).open("rb") as stream:
            begin = stream.read(520)
        return _HDF5 in (begin[:8], begin[512:520])


def read_matlab(path: Path, names: Sequence[str]) -> Mapping[str, Any]:
    """Read the named matrices of a MATLAB file up to version 7; absent ones are left out.

    Nothing else in the file is parsed. Refused is what is no matrix of numbers (a structure, an
    object, a function, a sparse matrix), or larger than the file can hold.
    """
    require_file(path)
    with damage_named(path, "no MATLAB file", "download it again"):
        here = local_copy(path)
        size = here.stat().st_size
        for name, shape, kind in whosmat(here, appendmat=False):
            if name not in names:
                continue
            if kind not in _NUMBERS:
                raise UserError(
                    f"{path}: {name} is no matrix of numbers ({kind}): replace the file."
                )
            # files pack numbers, at the narrowest one byte each
            if prod(shape) > DEFLATE_RATIO * size:
                raise UserError(
                    f"{path} is damaged: {size} bytes cannot hold {name} of shape {shape}: "
                    "download it again."
                )
            require_memory(path, prod(shape) * _WIDEST, "use a machine with more memory")
        return dict(loadmat(here, appendmat=False, variable_names=list(names)))
