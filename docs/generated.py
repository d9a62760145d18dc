"""The parts of the pages that are made from the code, so that they cannot go stale."""

import ast
import csv
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def fill(text: str) -> str:
    """Put each generated part where a page asks for it by ``<!-- generated: NAME -->``."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda found: PARTS[found[1]](), text)


# --- settings ------------------------------------------------------------------------------------


def settings() -> str:
    """Return a table of settings for each table of the experiment file."""
    from vox2pix.config import Config, DataConfig, DecodeConfig, TargetConfig
    from vox2pix.data import SOURCES, own_options
    from vox2pix.targets import TARGETS

    sections = []
    for name, table in tables(Config):
        sections.append(_table(name, table.__doc__, plain_settings(table)))
        if table is DataConfig:
            for source in SOURCES.values():
                if own := {k: source.model_fields[k] for k in own_options(source)}:
                    about = f"Where `data.source` is `{source.name}`: {source.title}."
                    sections.append(_table("data.options", about, own))
        if table is DecodeConfig:
            for target in TARGETS.values():
                fields = TargetConfig.model_fields | target.model_fields
                sections.append(_table(f"decode.{target.name}", target.__doc__, fields))
    return "\n\n".join(sections)


def tables(model: type[BaseModel], name: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield a model and the models of its fields, each with its name in the file."""
    yield name, model
    for key, setting in model.model_fields.items():
        inner = setting.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from tables(inner, f"{name}.{key}".lstrip("."))


def plain_settings(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the settings of one table, without the tables below it."""
    below = {id(inner) for _, inner in tables(model)}
    return {k: s for k, s in model.model_fields.items() if id(s.annotation) not in below}


def _table(name: str, about: str | None, fields: Mapping[str, FieldInfo]) -> str:
    heading = f"## `[{name}]`" if name else "## Top of the file"
    rows = [
        f"| `{key}` | {_kind(setting.annotation)}{_limits(setting)} | {_default(setting)} "
        f"| {setting.description or ''} |"
        for key, setting in fields.items()
    ]
    head = "| key | type | default | description |\n|---|---|---|---|"
    text = re.sub(r":func:`([\w.]+)`", r"`\1`", (about or "").split("\n")[0])
    return "\n\n".join([heading, text, "\n".join([head, *rows])])


def _kind(annotation: Any) -> str:
    """Name a type as a person writes it in TOML."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return ", ".join(f'`"{choice}"`' for choice in inner)
    if origin in (Union, UnionType):
        return " or ".join(_kind(part) for part in inner if part is not NoneType)
    if origin is dict:
        return "table"
    if origin is tuple:
        kind = _kind(inner[0])
        return f"list of {kind}" if kind.startswith("`") else f"list of {kind}s"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}
    return names[annotation]


def _limits(setting: FieldInfo) -> str:
    """Return the bounds of a number."""
    bounds = [
        f"{sign} {value:g}"
        for limit in setting.metadata
        for key, sign in _BOUNDS.items()
        if (value := getattr(limit, key, None)) is not None
    ]
    return f", {', '.join(bounds)}" if bounds else ""


def _default(setting: FieldInfo) -> str:
    if setting.is_required():
        return "required"
    value = setting.default
    if value is None:
        return "absent"
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(each) for each in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


# --- commands ------------------------------------------------------------------------------------


def commands() -> str:
    """Return ``--help`` of every command."""
    import typer

    from vox2pix.cli import app

    return "\n\n".join(_help(typer.main.get_command(app), "vox2pix"))


def _help(command: Any, name: str, parent: Any = None) -> Iterator[str]:
    """Yield a section for a command and for each command below it."""
    command.rich_markup_mode = None  # plain text, without boxes
    context = command.context_class(
        command, info_name=name.split()[-1], parent=parent, terminal_width=88
    )
    yield f"## `{name}`\n\n```text\n{command.get_help(context)}\n```"
    for key, below in getattr(command, "commands", {}).items():
        yield from _help(below, f"{name} {key}", context)


# --- metrics -------------------------------------------------------------------------------------


def protocols() -> str:
    """Return what each protocol computes; those with the same metrics share a table."""
    from vox2pix.evaluation import PROTOCOLS

    return "\n\n".join(
        _protocol(list(same)) for _, same in groupby(PROTOCOLS.values(), lambda p: p.metrics)
    )


def _protocol(same: list[Any]) -> str:
    """Return the section of protocols that differ in their names only."""
    first = same[0]
    heading = "### " + ", ".join(f"`{each.name}`" for each in same)
    sources = "; ".join(each.source for each in same)
    about = f"{sources}. Identification fixes the {first.direction}. {first.notes}"
    rows = [
        (
            each.name,
            each.statistic + (" ↓" if each.lower_is_better else ""),
            *_read_at(each),
            each.resizing.describe() if each.resizing else "bilinear",
        )
        for each in first.metrics
    ]
    return f"{heading}\n\n{about}\n\n" + _rows(
        ("metric", "statistic", "network", "layer", "size", "resizing"), rows
    )


def published() -> str:
    """Return the published rows with their protocols and notes, and published retrieval."""
    from vox2pix.evaluation import PUBLISHED, PUBLISHED_RETRIEVAL

    rows = [
        (row.method, row.protocol, " ".join(f"{value:g}" for value in row.values), row.note)
        for row in PUBLISHED
    ]
    found = [
        (row.method, f"{row.original:g}", f"{row.reconstruction:g}") for row in PUBLISHED_RETRIEVAL
    ]
    return "\n\n".join(
        (
            _rows(("whose", "protocol", "values, in the order of the eight", "note"), rows),
            "Retrieval of embeddings that are decoded from the brain, top-1 of 300 in per cent:",
            _rows(("whose", "`original` (image fixed)", "`reconstruction` (brain fixed)"), found),
        )
    )


def _read_at(metric: Any) -> tuple[str, str, str]:
    """Return the network, the layer and the size that a metric is read at."""
    from vox2pix.vision._network import parse_name

    if metric.network is None:
        return "", "", f"{metric.size} px" if metric.size else "the original's own"
    read = parse_name(metric.network)
    return f"`{read.model}`", f"`{read.layer}`" if read.layer else "", f"{read.size} px"


def weights() -> str:
    """Return where the networks' weights are published."""
    from vox2pix.evaluation import WEIGHTS

    return _rows(
        ("network", "file or folder", "MB", "licence"),
        [(f"`{w.network}`", f"[`{w.file}`]({w.source})", w.megabytes, w.licence) for w in WEIGHTS],
    )


def _rows(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table; columns of numbers stand to the right."""
    heads, rows = tuple(heads), [tuple(map(str, row)) for row in rows]
    columns = list(zip(*rows, strict=True))
    rule = ["---:" if all(re.match(r"[\d.−-]", v) for v in c) else "---" for c in columns]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


# --- the demo's results --------------------------------------------------------------------------


def latents() -> str:
    """Return how well each latent predicts each region of the demo's subject."""
    with (ROOT / "docs/_static/encoding/roi_means.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    names = list(dict.fromkeys(row["latent"] for row in table))
    rows = [
        (
            roi,
            same[0]["n_voxels"],
            *(
                f"{float(r['value']):.2f} [{float(r['low']):.2f}, {float(r['high']):.2f}]"
                for r in same
            ),
            f"{float(same[0]['ceiling']):.2f}",
        )
        for roi in dict.fromkeys(row["roi"] for row in table)
        if (same := [row for row in table if row["roi"] == roi])
    ]
    heads = ("region", "voxels", *(name.split("@")[0] for name in names), "ceiling")
    return _rows(heads, rows)


def audit() -> str:
    """Return what the audit says of the demo."""
    found = json.loads((ROOT / "docs/_static/audit.json").read_text(encoding="utf-8"))
    return _rows(
        ("verdict", "check", "finding"),
        [(each["verdict"] or "open", each["name"], each["sentence"]) for each in found],
    )


# --- the examples --------------------------------------------------------------------------------

EXAMPLES = (
    "decode_and_draw",
    "own_data",
    "other_decoder",
    "how_much_data",
    "own_target",
    "encoding_map",
    "evaluate_folder",
    "audit_images",
    "cluster",
)
"""The scripts of ``examples/`` in the order of the page."""


def gallery() -> str:
    """Return a section for each example: what it shows, its code, its figure, what it prints."""
    return "\n\n".join(map(_example, EXAMPLES))


def _example(name: str) -> str:
    """Return the section of one example; figure and output come from ``make figures``."""
    source = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    about = ast.get_docstring(ast.parse(source)) or ""
    title, _, description = about.partition("\n")
    code = source.split('"""', 2)[2].strip()
    parts = [f"## {title.rstrip('.')}", f"`examples/{name}.py`", description.strip()]
    made = ROOT / "docs/_static/examples"
    if (made / f"{name}.png").is_file():
        parts.append(f"![{title}](_static/examples/{name}.png)")
    if (made / f"{name}.txt").is_file():
        printed = (made / f"{name}.txt").read_text(encoding="utf-8").strip()
        parts.append(f"```text\n{printed}\n```")
    return "\n\n".join([*parts, f"```python\n{code}\n```"])


# --- the rest ------------------------------------------------------------------------------------


def layers() -> str:
    """Return the layers of the import contract, top first."""
    contract = PYPROJECT["tool"]["importlinter"]["contracts"][0]
    lines = [re.sub(r"[()]", "", layer) for layer in contract["layers"]]
    return "```text\n" + "\n".join(lines) + "\n```"


def sheet() -> str:
    """Return the demo's contact sheet, once it is there."""
    if not (ROOT / "docs/_static/demo.png").is_file():
        return ""
    return "![Seen images beside reconstructions from the simulated brain](_static/demo.png)"


PARTS = {
    "settings": settings,
    "commands": commands,
    "protocols": protocols,
    "published": published,
    "weights": weights,
    "latents": latents,
    "audit": audit,
    "gallery": gallery,
    "layers": layers,
    "sheet": sheet,
}
