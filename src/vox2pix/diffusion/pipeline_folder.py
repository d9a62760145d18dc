"""Read a diffusers pipeline folder: which one, what is in it, its components and its hashes."""

import difflib
import hashlib
import importlib.resources
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vox2pix.errors import UserError
from vox2pix.store import file_hash
from vox2pix.untrusted.models import check_model_folder, check_settings, weight_files

PHANTOM = "phantom"

# What is read of each component; patterns for the hub, so that other precisions, other formats
# and components without a use here (safety checker) are not fetched.
_WEIGHT_STEM = "diffusion_pytorch_model"
_WEIGHTS = {
    "vae": _WEIGHT_STEM,
    "unet": _WEIGHT_STEM,
    "text_encoder": "model",
}
_CLASSES = {
    "vae": "AutoencoderKL",
    "unet": "UNet2DConditionModel",
    "text_encoder": "CLIPTextModel",
    "tokenizer": "CLIPTokenizer",
}
# What Stable Diffusion XL has twice.
_SECOND = {"text_encoder_2": "CLIPTextModelWithProjection", "tokenizer_2": "CLIPTokenizer"}
_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_TEXTS = ("json", "txt")  # endings of a tokenizer's files
_INDEX = "model_index.json"
_SCHEDULER = "scheduler/scheduler_config.json"
_NORMALIZER = "image_normalizer"  # that unCLIP models have
_NOISING = "image_noising_scheduler"


@dataclass(frozen=True)
class PipelineFolder:
    """A pipeline folder on disk (with ``model_index.json``), its name and its hub revision.

    The name is ``"phantom"``, the hub's ``owner/model``, or the folder's last name: never its
    path, so that the same model is the same on any machine. A folder has no revision.
    """

    path: Path
    name: str
    revision: str | None


@dataclass(frozen=True)
class Components:
    """The parts of a Stable Diffusion pipeline, as diffusers and transformers hold them.

    Of Stable Diffusion XL text encoder and tokenizer are pairs; those of unCLIP models are their
    image normaliser and the scheduler of its noise.
    """

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler_config: dict[str, Any]
    unclip: tuple[Any, Any] | None = None


def find_pipeline(
    name_or_path: str | Path, revision: str | None = None, local_files_only: bool = False
) -> PipelineFolder:
    """Return the folder of a model: ``"phantom"``, a pipeline folder, or a name on the hub.

    With `local_files_only` the hub is not contacted, and its cache on this machine is used.
    Raises UserError if there is no such folder or the hub does not give the model.
    """
    name = str(name_or_path)
    if name == PHANTOM:
        path = Path(str(importlib.resources.files("vox2pix"))) / "phantom" / "model"
        if not path.is_dir():
            raise UserError(
                f"The phantom's model is not in the package (no folder {path}); reinstall vox2pix."
            )
        return PipelineFolder(path, PHANTOM, None)
    path = Path(name).expanduser()
    if path.is_dir():
        return PipelineFolder(path, path.resolve().name, None)
    if isinstance(name_or_path, Path) or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        near = difflib.get_close_matches(name, [PHANTOM], cutoff=0.6)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UserError(
            f"There is no model folder {name!r}{hint}; give a diffusers pipeline folder, "
            f"a Hugging Face name such as 'CompVis/stable-diffusion-v1-4', or {PHANTOM!r}."
        )
    return _fetch(name, revision, local_files_only)


def load_components(folder: PipelineFolder, dtype: torch.dtype) -> Components:
    """Load the parts of a pipeline by fixed classes, weights from safetensors only.

    No code comes from the folder and no safety checker is loaded. Raises UserError for a part
    that is missing, of another class or incomplete, and for pickled weights.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    _check_index(folder.path)
    _check_files(folder.path)
    for part, stem in {**networks_of(folder.path), "scheduler": ""}.items():
        check_model_folder(folder.path / part, stem)
    sampled = scheduler_config(folder.path)  # before what takes long
    tokenizers = [load_tokenizer(folder.path, part) for part in _tokenizers_of(folder.path)]
    encoders = _load_text_encoders(folder.path, dtype)
    # diffusers' other way of loading needs accelerate, and warns where that is not installed
    plain = {"torch_dtype": dtype, "low_cpu_mem_usage": False}
    return Components(
        vae=_load_weights(AutoencoderKL, folder.path / "vae", **plain),
        unet=_load_weights(UNet2DConditionModel, folder.path / "unet", **plain),
        text_encoder=encoders if len(encoders) > 1 else encoders[0],
        tokenizer=tokenizers if len(encoders) > 1 else tokenizers[0],
        scheduler_config=sampled,
        unclip=_load_unclip(folder.path),
    )


def networks_of(folder: Path) -> dict[str, str]:
    """Return the networks of a pipeline, with the names of their weights without suffix."""
    second = {"text_encoder_2": _WEIGHTS["text_encoder"]} if _is_xl(folder) else {}
    return {**_WEIGHTS, **second}


def _is_xl(folder: Path) -> bool:
    """Tell whether a pipeline is one of Stable Diffusion XL, with two text encoders."""
    return not _SECOND.keys().isdisjoint(_index(folder))


def _index(folder: Path) -> dict[str, Any]:
    """Return what a folder says of its parts; empty for one that is no pipeline's."""
    return _read_json(folder / _INDEX) if (folder / _INDEX).is_file() else {}


def _tokenizers_of(folder: Path) -> tuple[str, ...]:
    return ("tokenizer", "tokenizer_2") if _is_xl(folder) else ("tokenizer",)


def _load_text_encoders(folder: Path, dtype: torch.dtype) -> list[Any]:
    """Load the text encoder, or both."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    classes = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    # transformers would otherwise take the precision that the file is stored in
    return [
        _load_weights(classes[part], folder / part, dtype=dtype)
        for part in networks_of(folder)
        if part in classes
    ]


def _load_unclip(folder: Path) -> tuple[Any, Any] | None:
    """Load what unCLIP models have beside the others."""
    from diffusers import DDPMScheduler
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer

    configs = unclip_configs(folder)
    if not configs:
        return None
    check_model_folder(folder / _NORMALIZER, _WEIGHT_STEM)
    normalizer = _load_weights(
        StableUnCLIPImageNormalizer, folder / _NORMALIZER, low_cpu_mem_usage=False
    )
    return normalizer, DDPMScheduler.from_config(configs[_NOISING])


def load_tokenizer(folder: Path, part: str = "tokenizer") -> Any:
    """Load a tokenizer of a pipeline, by a fixed class.

    Raises UserError if a file is missing or damaged, or names code or another file.
    """
    from transformers import CLIPTokenizer

    path = folder / part
    check_model_folder(path, "", _TOKENIZER_FILES)
    try:
        return CLIPTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(_unreadable(path, error)) from error


def network_config(folder: Path, part: str) -> dict[str, Any]:
    """Return the configuration of ``vae``, ``unet`` or ``text_encoder``: its class's arguments."""
    config = _read_json(folder / part / "config.json")
    return {key: value for key, value in config.items() if not key.startswith("_")}


def scheduler_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a pipeline's scheduler."""
    return _read_json(folder / _SCHEDULER)


def unclip_configs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the configurations of an unCLIP model's own parts; empty for other models."""
    if _NORMALIZER not in _index(folder):
        return {}
    return {
        _NORMALIZER: network_config(folder, _NORMALIZER),
        _NOISING: _read_json(folder / _NOISING / "scheduler_config.json"),
    }


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each of :func:`files_of_model`, read as streams."""
    return {name: file_hash(path) for name, path in files_of_model(folder).items()}


def files_of_model(folder: Path) -> dict[str, Path]:
    """Return the files that decide what a model computes, by path within the folder (with ``/``).

    Weights, configurations and tokenizer: those that :func:`load_components` reads.
    """
    files = [folder / _SCHEDULER]
    for part, stem in {**networks_of(folder), _NORMALIZER: _WEIGHT_STEM}.items():
        files += [folder / part / "config.json", *weight_files(folder / part, stem)]
    files += [folder / part / f for part in _tokenizers_of(folder) for f in _TOKENIZER_FILES]
    files.append(folder / _NOISING / "scheduler_config.json")
    return {file.relative_to(folder).as_posix(): file for file in sorted(files) if file.is_file()}


def hash_module(module: torch.nn.Module) -> str:
    """Return the SHA-256 of a module's tensors: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # bfloat16 has no NumPy type, its bytes have
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _fetch(name: str, revision: str | None, local_files_only: bool) -> PipelineFolder:
    """Bring a pipeline from the hub, or its cache, to this machine."""
    from huggingface_hub import snapshot_download

    patterns = [_INDEX, _SCHEDULER, f"{_NOISING}/*.json"]
    patterns += [f"{part}/*.{kind}" for part in ("tokenizer", "tokenizer_2") for kind in _TEXTS]
    more = {"text_encoder_2": _WEIGHTS["text_encoder"], _NORMALIZER: _WEIGHT_STEM}
    for part, stem in {**_WEIGHTS, **more}.items():
        patterns += [f"{part}/{file}" for file in ("config.json", f"{stem}.safetensors")]
        patterns += [f"{part}/{stem}.safetensors.index.json", f"{part}/{stem}-*-of-*.safetensors"]
    try:
        path = snapshot_download(
            name,
            revision=revision,
            local_files_only=local_files_only,
            allow_patterns=patterns,
        )
    except Exception as error:  # the client lets errors of several libraries through
        at = f" at revision {revision!r}" if revision else ""
        where = "in this machine's cache" if local_files_only else "on the Hugging Face Hub"
        raise UserError(
            f"Cannot get the model {name!r}{at} {where} ({_first_line(error)}); check the name, "
            "the revision, the network and your access to the model, or give a folder that holds "
            "a downloaded copy."
        ) from error
    return PipelineFolder(Path(path), name, Path(path).name)


def _check_index(folder: Path) -> None:
    """Refuse a folder that is not a Stable Diffusion pipeline of the classes read here."""
    if not (folder / _INDEX).is_file():
        raise UserError(
            f"{folder} is not a diffusers pipeline folder (no {_INDEX}); give the folder that "
            "DiffusionPipeline.save_pretrained wrote."
        )
    index = _read_json(folder / _INDEX)
    if _is_xl(folder) and index.get("force_zeros_for_empty_prompt") is not True:
        raise UserError(
            f"{folder / _INDEX}: force_zeros_for_empty_prompt is not true, and vox2pix guides "
            "Stable Diffusion XL away from zeros; use a text-to-image model such as the base one."
        )
    for part, expected in {**_CLASSES, **(_SECOND if _is_xl(folder) else {})}.items():
        entry = index.get(part)
        named = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        # the tokenizer's fast twin has the same files
        if named not in (expected, f"{expected}Fast"):
            raise UserError(
                f"{folder / _INDEX}: {part} is {named or 'missing'}, and vox2pix reads "
                f"{expected}; use a Stable Diffusion 1.x, 2.x or XL text-to-image model."
            )


def _check_files(folder: Path) -> None:
    """Refuse a folder in which a file is missing, naming it."""
    for part, stem in networks_of(folder).items():
        if not (folder / part / "config.json").is_file():
            raise UserError(_missing(folder, f"{part}/config.json"))
        if weight_files(folder / part, stem):
            continue
        if any((folder / part).glob("*.bin")) or any((folder / part).glob("*.ckpt")):
            raise UserError(
                f"{folder / part} holds pickled weights only, which vox2pix does not read; "
                "choose a revision with safetensors, or save the pipeline again with "
                "save_pretrained(..., safe_serialization=True)."
            )
        raise UserError(_missing(folder, f"{part}/{stem}.safetensors"))
    if not (folder / _SCHEDULER).is_file():
        raise UserError(_missing(folder, _SCHEDULER))
    for part in _tokenizers_of(folder):
        files = ("vocab.json", "merges.txt")
        has_vocabulary = all((folder / part / file).is_file() for file in files)
        if not has_vocabulary and not (folder / part / "tokenizer.json").is_file():
            raise UserError(_missing(folder, f"{part}/vocab.json and {part}/merges.txt"))


def _load_weights(model_class: Any, folder: Path, **options: Any) -> Any:
    """Load one network, refusing a file that does not hold all of its weights."""
    from safetensors import SafetensorError

    try:
        model, info = model_class.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(_unreadable(folder, error)) from error
    missing = sorted(info["missing_keys"])
    if missing:
        # the loaders only warn, and continue with random numbers
        raise UserError(
            f"{folder}: the weights lack {len(missing)} tensors that config.json requires "
            f"(the first is {missing[0]}); fetch or save this component again."
        )
    spoiled = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if spoiled:
        raise UserError(
            f"{folder}: {len(spoiled)} tensors of the weights hold NaN or infinite numbers (the "
            f"first is {spoiled[0]}); fetch or save this component again, or take another "
            "compute.dtype."
        )
    return model


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file, which may name no code and no other file."""
    content = check_settings(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object; fetch or save the file again.")
    return content


def _missing(folder: Path, what: str) -> str:
    """Return the sentence for a missing file."""
    return f"The model folder {folder} lacks {what}; fetch or save the whole pipeline again."


def _unreadable(path: Path, error: Exception) -> str:
    """Return the sentence for a file that cannot be read."""
    return f"Cannot read {path} ({_first_line(error)}); fetch or save this component again."


def _first_line(error: Exception) -> str:
    """Return the first line of an error's text, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")
