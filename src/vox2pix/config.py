"""The experiment file: TOML, read into frozen models that name every setting.

What changes the result (``data``, ``model``, ``decode``, ``generate``, ``evaluate``, ``audit``,
``encode``, ``seed``) is hashed; what does not (``compute``, ``name``, where things lie) is not.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from vox2pix.buckets import as_path, is_url
from vox2pix.errors import UserError
from vox2pix.outside import holds_secrets, is_utf8, without_secrets
from vox2pix.places import where_they_are
from vox2pix.protocols import RUN_PROTOCOLS, RunProtocol
from vox2pix.untrusted.text import read_toml

Condition = Literal["z-decode", "z", "c", "z+c"]
_SHIPPED = ("phantom", "pixels", "edges")  # models and encoders that no folder can be taken for


class _Table(BaseModel):
    """One table of the file: frozen, and no key that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class PhantomSource(_Table):
    """How to simulate a subject; see :func:`vox2pix.phantom._simulate`."""

    sessions: int = Field(default=4, ge=1, description="sessions of the simulated subject")
    trials_per_session: int = Field(default=750, ge=3, description="trials a session")
    n_shared: int = Field(default=100, ge=2, description="test images, seen by every subject")
    n_early: int = Field(default=1500, ge=1, description="voxels of the early stream")
    n_ventral: int = Field(default=1500, ge=1, description="voxels of the ventral stream")
    seed: int = Field(default=0, ge=0, description="seed of images, brain and noise")


SessionNumber = Annotated[int, Field(ge=1)]


class DataConfig(_Table):
    """Whose responses to what.

    Attributes
    ----------
    source : {"phantom", "nsd", "folder"}
        A simulated subject, the Natural Scenes Dataset's tree, or a folder of one's own.
    path : Path or str, optional
        Root of the data, relative to the experiment file, or its URL (``s3://...``). The phantom
        is simulated into the run folder and needs none.
    """

    source: Literal["phantom", "nsd", "folder"] = Field(
        description="a simulated subject, NSD's tree, or a folder of one's own"
    )
    path: Path | str | None = Field(
        default=None,
        description="root of the data, relative to the experiment file, or its URL; not for the "
        "phantom",
    )
    subject: int = Field(default=1, ge=1, description="number of the subject in NSD's tree")
    sessions: SessionNumber | Annotated[tuple[SessionNumber, ...], Field(min_length=1)] | None = (
        Field(
            default=None,
            description="the first so many sessions, or these; all if absent (NSD's tree)",
        )
    )
    space: str = Field(default="func1pt8mm", description="space of the responses (NSD's tree)")
    betas: str = Field(default="betas_fithrf_GLMdenoise_RR", description="version of the betas")
    phantom: PhantomSource = PhantomSource()
    max_test_stimuli: int | None = Field(
        default=None,
        ge=2,
        description="draw and score the first so many test stimuli; all if absent",
    )

    @field_validator("path")
    @classmethod
    def _local_or_url(cls, path: Path | str | None) -> Path | str | None:
        return path if path is None or is_url(path) else Path(path)

    @model_validator(mode="after")
    def _path_where_needed(self) -> "DataConfig":
        if self.source != "phantom" and self.path is None:
            raise ValueError(f"data.path is missing: where does the {self.source} data lie?")
        return self

    def root(self, run_path: Path) -> Path:
        """Return where the data lie; a simulated subject lies in its run's folder."""
        named = digest([self.phantom.model_dump(), self.subject, self.space])[:8]
        return run_path / f"phantom-{named}" if self.path is None else as_path(self.path)


class ModelConfig(_Table):
    """The frozen latent diffusion model."""

    name: str = Field(
        default="phantom",
        description="phantom, a diffusers pipeline folder, relative to the experiment file, or a "
        "Hugging Face name",
    )
    revision: str | None = Field(
        default=None, description="branch, tag or commit, for a Hugging Face name"
    )
    z_image_size: int | None = Field(
        default=None, ge=8, description="pixels at which z is taken; the model's own if absent"
    )
    z_posterior: Literal["mode", "sample"] = Field(
        default="mode",
        description="z is the mode of the autoencoder's posterior, or one draw from it",
    )


class DecodeConfig(_Table):
    """Which voxels predict z and c, and how."""

    z: tuple[str, ...] = Field(default=("early",), description="regions that predict z")
    c: tuple[str, ...] = Field(default=("ventral",), description="regions that predict c")
    alphas: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = Field(
        default=None, description="ridge penalties to choose from; the decoder's own if absent"
    )
    selection: Literal["gcv", "cv"] = Field(
        default="gcv", description="generalised cross-validation, or folds grouped by stimulus"
    )
    alpha_per_target: bool = Field(
        default=True, description="a penalty for each number of z and c, or one for all"
    )


class GenerateConfig(_Table):
    """How images are drawn from what was decoded."""

    conditions: tuple[Condition, ...] = Field(
        default=("z-decode", "z", "c", "z+c"), description="what is drawn from decoded features"
    )
    ceilings: tuple[Condition, ...] = Field(
        default=("z", "c", "z+c"), description="what is drawn from true features"
    )
    shuffled: bool = Field(default=True, description="whether to draw from a shuffled brain")
    samples: int = Field(default=5, ge=1, description="noise samples a stimulus")
    ceiling_samples: int = Field(
        default=1, ge=1, description="the same for ceilings and the shuffled brain"
    )
    strength: float = Field(
        default=0.8, gt=0, le=1, description="how far the start is noised, as a share of the steps"
    )
    steps: int = Field(default=50, ge=1, le=999, description="length of the sampler's schedule")
    guidance: float = Field(
        default=5.0, ge=1, description="classifier-free guidance scale; 1 is no guidance"
    )
    schedule: Literal["diffusers", "takagi2023"] = Field(
        default="diffusers",
        description="noise level at which denoising starts, of images and of z_c (encode)",
    )

    @model_validator(mode="after")
    def _something_to_draw(self) -> "GenerateConfig":
        for name in ("conditions", "ceilings"):
            wanted = getattr(self, name)
            if len(set(wanted)) < len(wanted):
                raise ValueError(f"generate.{name} names a condition twice: {', '.join(wanted)}.")
        if int(self.steps * self.strength) < 1:
            raise ValueError(
                f"generate.steps = {self.steps} at generate.strength = {self.strength} leaves no "
                "step to denoise; raise one of them."
            )
        return self


class EvaluateConfig(_Table):
    """What the images are held against."""

    encoder: str = Field(
        default="phantom",
        description="phantom, pixels, a folder with a CLIP model, relative to the experiment "
        "file, or its Hugging Face name",
    )
    per_group: int = Field(default=3, ge=1, description="best, median and worst rows on the sheet")


class AuditConfig(_Table):
    """Whether the images came from the brain at all."""

    enabled: bool = Field(
        default=True, description="whether to draw and judge what the audit needs"
    )
    clusters: int = Field(
        default=4,
        ge=2,
        description="groups of images alike in c (or z), each held out of training once",
    )


Share = Annotated[float, Field(gt=0, le=1)]


class EncodeConfig(_Table):
    """Which latents explain which voxels: the four analyses of the paper, and their statistics.

    Moments of denoising are shares of the steps that are run: at 0.1 the image hardly stands
    out from the noise, at 1 it is finished.
    """

    rois: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        default=(
            "early",
            "midventral",
            "midlateral",
            "midparietal",
            "ventral",
            "lateral",
            "parietal",
        ),
        description="regions whose voxels are modelled; all for the whole brain",
    )
    latents: Annotated[tuple[Literal["z", "c", "z_c"], ...], Field(min_length=1)] = Field(
        default=("z", "c", "z_c"), description="latents that are compared, each alone"
    )
    strength: Share = Field(
        default=0.8, description="noise added before denoising for z_c, moments and layers"
    )
    strengths: tuple[Share, ...] = Field(
        default=(0.2, 0.4, 0.6, 0.8, 1.0),
        description="noise levels at which z and z_c share one model; none leaves this out",
    )
    moments: tuple[Share, ...] = Field(
        default=(0.1, 0.5, 1.0),
        description="moments of denoising at which z and z_c share one model",
    )
    layers: tuple[str, ...] | None = Field(
        default=None,
        description="modules of the U-Net, by name; if absent, its first two and last two blocks "
        "and the middle one",
    )
    layer_moments: tuple[Share, ...] = Field(
        default=(0.1, 0.4, 0.7, 1.0), description="moments of denoising at which layers are taken"
    )
    steps: int = Field(default=50, ge=1, le=999, description="length of the sampler's schedule")
    guidance: float = Field(default=5.0, ge=1, description="classifier-free guidance scale")
    n_components: int = Field(
        default=6400, ge=1, description="dimensions that larger feature spaces are reduced to"
    )
    alphas: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = Field(
        default=None, description="ridge penalties to choose from; the model's own if absent"
    )
    selection: Literal["gcv", "cv"] = Field(
        default="gcv", description="generalised cross-validation, or folds over stimuli"
    )
    null: Literal["gaussian", "permutation"] = Field(
        default="gaussian",
        description="what correlations are held against: independent Gaussian vectors, or test "
        "responses permuted in blocks",
    )
    permutations: int = Field(default=1000, ge=100, description="draws of the permutation null")
    q: float = Field(default=0.05, gt=0, lt=1, description="false discovery rate over voxels")
    resamples: int = Field(default=1000, ge=100, description="draws of the bootstrap over stimuli")

    @model_validator(mode="after")
    def _something_to_denoise(self) -> "EncodeConfig":
        for strength in (self.strength, *self.strengths):
            if int(self.steps * strength) < 1:
                raise ValueError(
                    f"encode.steps = {self.steps} at a strength of {strength:g} leaves no step to "
                    "denoise; raise one of them."
                )
        return self


class SlurmConfig(_Table):
    """Jobs that `--slurm` asks for, a worker each; see `vox2pix.workers.SlurmJobs`."""

    jobs: int = Field(default=4, ge=1, description="workers")
    cores: int = Field(default=4, ge=1, description="cores of each")
    memory: str = Field(default="32GB", description="memory of each")
    walltime: str = Field(default="04:00:00", description="after which Slurm ends a job")
    queue: str | None = Field(default=None, description="partition; the cluster's own if absent")
    account: str | None = Field(default=None, description="who pays")
    extra: tuple[str, ...] = Field(
        default=(), description='further options of sbatch, such as "--gres=gpu:1"'
    )
    prologue: tuple[str, ...] = Field(
        default=(), description="commands before a worker starts, such as `module load cuda`"
    )
    interface: str | None = Field(
        default=None, description="network by which workers reach the machine that you start from"
    )


class ComputeConfig(_Table):
    """Where and how fast.

    Only ``dtype`` is part of what a run computes: half precision draws slightly other images,
    in [0, 1] less than 0.02 away on average and 0.2 anywhere. The other settings move it by less
    than 1e-4 on average and 0.01 anywhere: by rounding, and where that turns one of the coarse
    image's 8-bit values. ``benchmarks/generation.py`` prints how far each does.
    """

    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:0 ... or mps")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="precision of the diffusion model"
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="images in the networks at once; auto: what the CPU's cache or the GPU's "
        "free memory suggests",
    )
    channels_last: bool = Field(
        default=True, description="whether networks keep channels last in memory"
    )
    attention: Literal["fused", "plain"] = Field(
        default="fused",
        description="torch's scaled-dot-product kernels, or two matrix products and a softmax",
    )
    compile: bool = Field(
        default=False,
        description="whether torch.compile makes the U-Net's steps faster, after minutes at the "
        "start; needs a C++ compiler",
    )
    overlap: bool = Field(
        default=False,
        description="whether a batch is decoded beside the next one's denoising; loses time on a "
        "CPU, whose cores are busy as it is",
    )
    shard_size: int = Field(default=25, ge=1, description="stimuli between two resting points")
    voxel_block: int = Field(
        default=20_000, ge=1, description="voxels whose responses are in memory at once (encode)"
    )
    slurm: SlurmConfig = SlurmConfig()

    @field_validator("batch_size", mode="before")
    @classmethod
    def _a_size(cls, size: Any) -> Any:
        if size != "auto" and (type(size) is not int or size < 1):
            raise ValueError(
                f'compute.batch_size is {size!r}; it is a number of images, 1 or more, or "auto".'
            )
        return size


class Config(_Table):
    """One experiment.

    Attributes
    ----------
    name : str
        Name of the run folder.
    protocol : {"default", "takagi2023"}
        ``takagi2023`` repeats the released code (protocol of the CVPR 2023 paper) with its
        faults; :mod:`vox2pix.protocols` lists them.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the run folder")
    seed: int = Field(default=0, ge=0, description="the run's one seed")
    protocol: Literal["default", "takagi2023"] = Field(
        default="default", description="the corrected way, or the released code's with its faults"
    )
    data: DataConfig
    model: ModelConfig = ModelConfig()
    decode: DecodeConfig = DecodeConfig()
    generate: GenerateConfig = GenerateConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    audit: AuditConfig = AuditConfig()
    encode: EncodeConfig = EncodeConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="before")
    @classmethod
    def _without_secrets(cls, raw: Any) -> Any:
        """Refuse settings that hold passwords or keys: a run saves its settings."""
        for key, text in _texts(raw, ""):
            if holds_secrets(text):
                raise ValueError(
                    f"'{key}' holds a password or key ({without_secrets(text)}), which a run would "
                    "save; take it out, and give it by an environment variable, such as "
                    "AWS_PROFILE, AWS_SECRET_ACCESS_KEY or HF_TOKEN."
                )
        return raw

    @model_validator(mode="before")
    @classmethod
    def _with_protocol(cls, raw: Any) -> Any:
        """Fill in what a named protocol sets, under what the experiment itself says."""
        if not isinstance(raw, dict) or raw.get("protocol") not in RUN_PROTOCOLS:
            return raw
        tables = {
            key: preset | raw.get(key, {})
            for key, preset in RUN_PROTOCOLS[raw["protocol"]].presets.items()
            if isinstance(raw.get(key, {}), dict)
        }
        return raw | tables

    @model_validator(mode="after")
    def _protocol_is_kept(self) -> "Config":
        named, dtype = self.run_protocol, self.compute.dtype
        if named.released_ridge and self.decode.selection != "cv":
            raise ValueError(
                f"protocol = '{named.name}' chooses penalties by folds: remove decode.selection, "
                "or take protocol = 'default'."
            )
        if named.precision is not None and dtype != named.precision:
            raise ValueError(
                f"protocol = '{named.name}' computes in {named.precision}, but compute.dtype is "
                f"'{dtype}': remove compute.dtype, or take protocol = 'default'."
            )
        return self

    @property
    def run_protocol(self) -> RunProtocol:
        """What the protocol named decides."""
        return RUN_PROTOCOLS[self.protocol]


def _texts(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield every text of an experiment, as it was read, with its dotted name."""
    if isinstance(value, str | Path):
        yield name, str(value)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(each, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each, name)


def load_config(path: str | Path) -> Config:
    """Read an experiment file.

    Parameters
    ----------
    path : str or Path
        A TOML file. Paths inside it are relative to its folder.

    Raises
    ------
    UserError
        If the file is missing or no TOML, or a key or value is wrong; the sentence names the
        file, the key, the value, and the key that was probably meant.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no experiment file {path}.")
    raw = read_toml(path)
    try:
        config = Config.model_validate(where_they_are(raw, path))
    except ValidationError as error:
        raise UserError(_explain(path, error)) from None
    return _with_absolute_path(config, path)


def digest(settings: Any) -> str:
    """Return 16 hex digits that name settings: equal settings, equal digits.

    Parameters
    ----------
    settings : pydantic model, dict, list, str, int, float, bool or None
        What to hash, by its JSON form with sorted keys.
    """
    if isinstance(settings, BaseModel):
        settings = settings.model_dump(mode="json")
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def without_place(name: str) -> str:
    """Return a model's name without where its folder lies, so that it is the same anywhere.

    Parameters
    ----------
    name : str
        Of a model or an encoder; only an absolute path is shortened, to its last part.
    """
    return Path(name).name if Path(name).is_absolute() else name


def for_others(config: Config) -> Config:
    """Return an experiment as it may be sent to others: without where its folders lie.

    Parameters
    ----------
    config : Config
        As it was run; what names a folder keeps the folder's own name.
    """
    data, model, evaluate = config.data, config.model, config.evaluate
    path = data.path if data.path is None or is_url(data.path) else Path(Path(data.path).name)
    return config.model_copy(
        update={
            "data": data.model_copy(update={"path": path}),
            "model": model.model_copy(update={"name": without_place(model.name)}),
            "evaluate": evaluate.model_copy(update={"encoder": without_place(evaluate.encoder)}),
        }
    )


def _with_absolute_path(config: Config, path: Path) -> Config:
    """Take paths from the file's folder: of the data, and of models that lie in folders."""
    data, model, evaluate = config.data, config.model, config.evaluate
    if isinstance(data.path, Path):
        root = _from_folder_of(path, "data.path", str(data.path))
        data = data.model_copy(update={"path": root})
    name = _with_absolute_folder(path, "model.name", model.name)
    encoder = _with_absolute_folder(path, "evaluate.encoder", evaluate.encoder)
    return config.model_copy(
        update={
            "data": data,
            "model": model.model_copy(update={"name": name}),
            "evaluate": evaluate.model_copy(update={"encoder": encoder}),
        }
    )


def _with_absolute_folder(path: Path, key: str, name: str) -> str:
    """Return the name of a model as it is, or, where it is a folder's, as an absolute path."""
    for model in (name, re.split("[:@]", name)[0]):  # an encoder's layer and size may follow
        if model and model not in _SHIPPED:
            folder = _from_folder_of(path, key, model)
            if folder.is_dir():
                return f"{folder}{name.removeprefix(model)}"
    return name


def _from_folder_of(path: Path, key: str, given: str) -> Path:
    try:
        found = (path.parent / Path(given).expanduser()).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # no such home, a zero byte in it
        raise UserError(f"{path}: {key} cannot be a path ({error}).") from None
    if not is_utf8(str(found)):
        raise UserError(
            f"{path}: {key} is {found}, whose name is not UTF-8 and cannot be saved; "
            "rename the folder."
        )
    return found


def _explain(path: Path, error: ValidationError) -> str:
    """Say the first thing that is wrong in one sentence."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}."
        return f"{path}: there is no setting '{key}'; {hint}"
    if first["type"] == "missing":
        return f"{path}: the setting '{key}' is missing."
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{path}: {message}"
    return f"{path}: '{key}' is {first['input']!r}, but: {message}."


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """List the keys of the table in which an unknown key stands."""
    table: type[BaseModel] = Config
    for part in location[:-1]:
        table = table.model_fields[str(part)].annotation  # type: ignore[assignment]
    return list(table.model_fields)
