"""``.pt`` and ``.pth``: tensors and texts, unpickled by torch's restricted reader only."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, is_zipfile

from vox2pix.buckets import local_copy
from vox2pix.errors import UserError
from vox2pix.untrusted.files import damage_named, one_line, require_file

_REMEDY = "save a plain tensor, or a dictionary of tensors"
_LARGEST_PICKLE = 64 * 2**20
_PLAIN = (str, int, float, bool, type(None))


def load_tensors(path: Path) -> Any:
    """Read a tensor, or a dictionary of tensors and of lists of texts or numbers.

    Tensors stay on disk until they are used where the file allows it. Anything else is refused:
    code, a TorchScript program, other objects, or tensors that are sparse, quantised, without
    values or larger than what is stored of them.
    """
    require_file(path)
    with damage_named(path, "no file that torch.save wrote", _REMEDY):
        here = local_copy(path)
        is_zip = is_zipfile(here)
        if is_zip:
            _check_archive(path, here)
        content = _load(path, here, is_zip)
    return _checked(path, content)


def _check_archive(path: Path, here: Path) -> None:
    """Raise if an archive is a program, packed, or would make torch read much before it checks."""
    with ZipFile(here) as archive:
        for member in archive.infolist():
            inner = member.filename.partition("/")[2]
            if inner.startswith("code/") or inner == "constants.pkl":
                raise UserError(f"{path} is a TorchScript program, and none is run: {_REMEDY}.")
            if member.compress_type != ZIP_STORED or member.flag_bits & 1:
                raise UserError(f"{path} is packed, which torch.save does not do: {_REMEDY}.")
            if inner == "data.pkl" and member.file_size > _LARGEST_PICKLE:
                raise UserError(
                    f"{path} holds {member.file_size / 1e6:,.0f} MB beside its tensors: {_REMEDY}."
                )


def _load(path: Path, here: Path, is_zip: bool) -> Any:
    import torch

    try:
        return torch.load(str(here), map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:  # its own text runs over pages
        raise UserError(
            f"{path} holds more than tensors, lists and words ({_first_words(error)}), and code "
            f"in it is not run: {_REMEDY}."
        ) from error


def _first_words(error: Exception) -> str:
    """Return torch's reason, without its advice to trust the file."""
    text = one_line(error)
    reason = text.partition("WeightsUnpickler error: ")[2] or text
    return reason.split(". ")[0].removesuffix(".")[:120]


def _checked(path: Path, content: Any) -> Any:
    """Return what was read after checking that it is plain."""
    import torch

    if isinstance(content, torch.Tensor):
        _require_plain(path, "the tensor", content)
        return content
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise UserError(f"{path} holds a {kind}, neither a tensor nor a dictionary: {_REMEDY}.")
    for name, value in content.items():
        if isinstance(value, torch.Tensor):
            _require_plain(path, repr(name)[:80], value)
        elif not _is_flat(value):
            raise UserError(
                f"{path} holds a {type(value).__name__} as {str(name)[:80]!r}, neither a tensor "
                f"nor a list of texts: {_REMEDY}."
            )
    return dict(content)


def _is_flat(value: Any) -> bool:
    """Return whether a value is a text, a number or a list of them: lists of lists can explode."""
    if isinstance(value, list | tuple):
        return all(isinstance(each, _PLAIN) for each in value)
    return isinstance(value, _PLAIN)


def _require_plain(path: Path, name: str, tensor: Any) -> None:
    """Raise if a tensor is not made of the values that the file holds."""
    import torch

    strided = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested
    if not strided or tensor.device.type != "cpu":
        kind = "sparse, quantised, nested or without values"
        raise UserError(f"{path}: {name} is {kind}: save tensor.to_dense().cpu().")
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > stored:
        raise UserError(
            f"{path}: {name} of shape {tuple(tensor.shape)} has more values than the file holds: "
            "save tensor.contiguous()."
        )
