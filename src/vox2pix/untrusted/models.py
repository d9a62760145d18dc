"""Folders of models: weights as safetensors, settings as JSON, no code and no other place."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vox2pix.errors import UserError
from vox2pix.untrusted.files import require_file, require_inside
from vox2pix.untrusted.safetensors_files import check_safetensors
from vox2pix.untrusted.text import read_json

_SETTINGS = (
    "config.json",
    "preprocessor_config.json",
    "scheduler_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_CODE = (
    "auto_map",
    "custom_pipelines",
    "custom_pipeline",
    "trust_remote_code",
    "quantization_config",
    "compression_config",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
    "use_kernels",
    "kernel_config",
)
"""Settings by which the libraries would import, fetch or run what they name."""

_PLACES = ("vocab_file", "merges_file", "tokenizer_file", "spm_file", "transformers_weights")
"""Settings by which they would read another file than the folder's own."""

_LARGEST_SETTINGS = 16 * 2**20
_DEEPEST = 20


def check_model_folder(folder: Path, stem: str, extra: Iterable[str] = ()) -> None:
    """Check what a library would read of one network's folder, before it does.

    ``stem`` is the name of the weights without suffix, ``""`` for a folder without weights. Refused
    are settings that name code or files, an index of shards that names files of other folders,
    damaged headers, a folder that names another model (an adapter), and links that lead outside.
    """
    root = _repository(folder)
    names = [name for name in (*_SETTINGS, *extra) if _is_there(folder / name)]
    weights = weight_files(folder, stem) if stem else []
    paths = [*(folder / name for name in names), *weights]
    require_inside(root, paths)
    if _is_there(folder / "adapter_config.json"):
        raise UserError(
            f"{folder} holds an adapter of another model (adapter_config.json): merge it, and "
            "save the whole model."
        )
    for name in names:
        if name.endswith(".json"):
            check_settings(folder / name)
        else:
            require_file(folder / name)
    for path in weights:
        if path.suffix == ".safetensors":
            check_safetensors(path)


def check_settings(path: Path) -> Any:
    """Return the JSON of a model's settings, after checking that they name no code and no file."""
    settings = read_json(path, _LARGEST_SETTINGS, unique=True)
    for key, value in _pairs(path, settings):
        if key in _CODE and value not in (None, False, "eager", "sdpa", {}, []):
            raise UserError(
                f"{path} asks for {key} = {str(value)[:80]!r}, and vox2pix runs nothing that a "
                "model brings or names: use a model of the libraries' own classes."
            )
        if key in _PLACES and value is not None:
            raise UserError(
                f"{path} names another file by {key} = {str(value)[:80]!r}: remove this setting."
            )
    return settings


def _pairs(path: Path, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, at any depth."""
    if depth > _DEEPEST:
        raise UserError(f"{path} is nested too deeply: replace the file.")
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _pairs(path, inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict | list):
                yield from _pairs(path, inner, depth + 1)


def weight_files(folder: Path, stem: str) -> list[Path]:
    """Return the safetensors files that the libraries choose: one file, or an index and shards."""
    single = folder / f"{stem}.safetensors"
    if single.is_file():
        return [single]
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return []
    content = read_json(index, unique=True)
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise UserError(f"{index} names no shards of weights: fetch or save the model again.")
    names = sorted({str(name) for name in shards.values()})
    for name in names:
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise UserError(
                f"{index} names weights {name[:80]!r}, which is no safetensors file of this "
                "folder: fetch or save the model again."
            )
    return [index, *(folder / name for name in names)]


def _repository(folder: Path) -> Path:
    """Return the folder that links may lead into: in the hub's cache that of the whole model."""
    here = folder.absolute()
    for parent in (here, *here.parents[:3]):
        if parent.parent.name == "snapshots" and (parent.parent.parent / "blobs").is_dir():
            return parent.parent.parent
    return folder


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
