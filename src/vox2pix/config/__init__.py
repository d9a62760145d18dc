"""The experiment file and the named protocols."""

from vox2pix.config._config import Config, for_others, load_config
from vox2pix.config._decode import DecodeConfig, TargetConfig
from vox2pix.config._names import digest, suggest, without_place
from vox2pix.config._settings import parse_settings
from vox2pix.config._shipped import shipped_experiment, shipped_experiments
from vox2pix.config._tables import (
    COMPANIONS,
    PLACES,
    DataConfig,
    EncodeConfig,
)
from vox2pix.config.protocols import RUN_PROTOCOLS, RunProtocol

__all__ = [
    "COMPANIONS",
    "PLACES",
    "RUN_PROTOCOLS",
    "Config",
    "DataConfig",
    "DecodeConfig",
    "EncodeConfig",
    "RunProtocol",
    "TargetConfig",
    "digest",
    "for_others",
    "load_config",
    "parse_settings",
    "shipped_experiment",
    "shipped_experiments",
    "suggest",
    "without_place",
]
