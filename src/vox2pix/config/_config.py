"""The experiment file: TOML, read into frozen models that name every setting.

What changes the result (``data``, ``model``, ``decode``, ``generate``, ``evaluate``, ``audit``,
``encode``, ``seed``) is hashed; what does not (``compute``, ``name``, the paths of folders) is not.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from vox2pix.config._decode import DecodeConfig, in_full
from vox2pix.config._names import suggest, without_place
from vox2pix.config._settings import with_settings
from vox2pix.config._tables import (
    AuditConfig,
    ComputeConfig,
    DataConfig,
    EncodeConfig,
    EvaluateConfig,
    GenerateConfig,
    ModelConfig,
    Table,
)
from vox2pix.config.protocols import RUN_PROTOCOLS, RunProtocol
from vox2pix.errors import UserError
from vox2pix.outside import holds_secrets, is_utf8, without_secrets
from vox2pix.places import where_they_are
from vox2pix.untrusted.text import read_toml

_SHIPPED = ("phantom", "pixels", "edges")  # models and encoders that no folder can be taken for


class Config(Table):
    """One experiment.

    The protocol ``takagi2023`` repeats the code released with the CVPR 2023 paper, faults
    included; :mod:`vox2pix.config.protocols` lists them.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the run folder")
    seed: int = Field(default=0, ge=0, description="the run's one seed")
    protocol: str = Field(
        default="default",
        description="default, the corrected analysis; or takagi2023, the released code with its "
        "faults",
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

    @field_validator("protocol")
    @classmethod
    def _known_protocol(cls, name: str) -> str:
        if name not in RUN_PROTOCOLS:
            raise ValueError(f"There is no protocol '{name}'; {suggest(name, RUN_PROTOCOLS)}")
        return name

    @model_validator(mode="before")
    @classmethod
    def _with_protocol(cls, raw: Any) -> Any:
        """Fill in what a named protocol presets and the experiment leaves open."""
        if not isinstance(raw, dict) or raw.get("protocol") not in RUN_PROTOCOLS:
            return raw
        protocol = RUN_PROTOCOLS[raw["protocol"]]
        tables = {
            key: preset | raw.get(key, {})
            for key, preset in protocol.presets.items()
            if isinstance(raw.get(key, {}), dict)
        }
        if isinstance(decode := tables.get("decode", raw.get("decode", {})), dict):
            decode = in_full(decode)
            for name, preset in protocol.target_settings.items():
                if isinstance(own := decode.get(name), dict):
                    decode[name] = {**preset, **own}
            tables["decode"] = decode
        return raw | tables

    @model_validator(mode="after")
    def _protocol_holds(self) -> "Config":
        named, dtype = self.run_protocol, self.compute.dtype
        if named.released_ridge and self.decode.selection != "cv":
            raise ValueError(
                f"protocol = '{named.name}' chooses penalties by folds: remove decode.selection, "
                "or take protocol = 'default'."
            )
        own = self.decode
        if named.released_ridge and (own.uses_reliability or own.standardize != "train"):
            raise ValueError(
                f"protocol = '{named.name}' treats all voxels and sessions alike: remove "
                "decode.reliability_powers, decode.min_reliability and decode.standardize, or take "
                "protocol = 'default'."
            )
        if named.precision is not None and dtype != named.precision:
            raise ValueError(
                f"protocol = '{named.name}' computes in {named.precision}, but compute.dtype is "
                f"'{dtype}': remove compute.dtype, or take protocol = 'default'."
            )
        return self

    @property
    def run_protocol(self) -> RunProtocol:
        """What the named protocol changes."""
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


def load_config(path: str | Path, settings: Mapping[str, Any] | None = None) -> Config:
    """Read an experiment file.

    Parameters
    ----------
    path : str or Path
        A TOML file. Paths inside it are relative to its folder.
    settings : mapping, optional
        What replaces or adds to it, by dotted names: ``{"generate.steps": 20}``.

    Raises
    ------
    UserError
        If the file is missing or no TOML, or a key or value is wrong; the sentence names the
        file, the key, the value, and the key that was probably meant.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no experiment file {path}.")
    raw = with_settings(read_toml(path), settings or {})
    try:
        config = Config.model_validate(where_they_are(raw, path))
    except ValidationError as error:
        raise UserError(_explain(path, error)) from None
    return _with_absolute_path(config, path)


def for_others(config: Config) -> Config:
    """Return an experiment as it may be sent to others: folders by their last name alone."""
    data, model, generate, evaluate = config.data, config.model, config.generate, config.evaluate
    adapter = generate.ip_adapter and Path(generate.ip_adapter.name)
    return config.model_copy(
        update={
            "data": data.with_places(lambda _, path: Path(path.name)),
            "model": model.model_copy(update={"name": without_place(model.name)}),
            "decode": _with_encoders(config.decode, lambda key, name: without_place(name)),
            "generate": generate.model_copy(update={"ip_adapter": adapter}),
            "evaluate": evaluate.model_copy(update={"encoder": without_place(evaluate.encoder)}),
        }
    )


def _with_absolute_path(config: Config, path: Path) -> Config:
    """Make paths of the data and of models absolute, from the file's folder."""
    data, model, generate, evaluate = config.data, config.model, config.generate, config.evaluate
    data = data.with_places(lambda key, place: _from_folder_of(path, f"data.{key}", str(place)))
    if generate.ip_adapter is not None:
        adapter = _from_folder_of(path, "generate.ip_adapter", str(generate.ip_adapter))
        generate = generate.model_copy(update={"ip_adapter": adapter})
    name = _with_absolute_folder(path, "model.name", model.name)
    encoder = _with_absolute_folder(path, "evaluate.encoder", evaluate.encoder)
    tables = {
        "data": data,
        "model": model.model_copy(update={"name": name}),
        "decode": _with_encoders(config.decode, partial(_with_absolute_folder, path)),
        "generate": generate,
        "evaluate": evaluate.model_copy(update={"encoder": encoder}),
    }
    # A table that is replaced counts as given, so that only those that change are.
    return config.model_copy(
        update={key: table for key, table in tables.items() if table != getattr(config, key)}
    )


def _with_encoders(decode: DecodeConfig, change: Callable[[str, str], str]) -> DecodeConfig:
    """Return the table with the encoder of each target that names one changed, by key and name."""
    changed = {}
    for target, table in decode.targets.items():
        name = table.settings.get("encoder")
        if isinstance(name, str):
            encoder = change(f"decode.{target}.encoder", name)
            changed[target] = table.model_copy(update={"encoder": encoder})
    return decode.model_copy(update=changed)


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
        folder = (path.parent / Path(given).expanduser()).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # no such home, a zero byte in it
        raise UserError(f"{path}: {key} cannot be a path ({error}).") from None
    if not is_utf8(str(folder)):
        raise UserError(
            f"{path}: {key} is {folder}, whose name is not UTF-8 and cannot be saved; "
            "rename the folder."
        )
    return folder


def _explain(path: Path, error: ValidationError) -> str:
    """Return one sentence on the first thing that is wrong."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        hint = suggest(str(first["loc"][-1]), _keys_beside(first["loc"]))
        return f"{path}: there is no setting '{key}'; {hint}"
    if first["type"] == "missing":
        return f"{path}: the setting '{key}' is missing."
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{path}: {message}"
    return f"{path}: '{key}' is {first['input']!r}, but: {message}."


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """List the keys of the table that holds an unknown key."""
    table: type[BaseModel] = Config
    for part in location[:-1]:
        table = table.model_fields[str(part)].annotation  # type: ignore[assignment]
    return list(table.model_fields)
