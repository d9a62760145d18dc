"""Templates filled in: pages that hold their own style and script, and load nothing."""

import re
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from vox2pix.report.assets import Assets


def render(
    template: str, assets: Assets, sections: Sequence[tuple[str, str]], title: str, **shown: Any
) -> str:
    """Fill in a template; all that does not come from this package is escaped."""
    environment = Environment(
        loader=PackageLoader("vox2pix.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["with_code"] = _with_code
    return environment.get_template(template).render(
        css=Markup(_static("report.css")),
        script=Markup(_static("report.js")),
        assets=assets.name,
        sections=sections,
        title=title,
        version=version("vox2pix"),
        today=date.today().isoformat(),
        **shown,
    )


def _with_code(text: str) -> Markup:
    """Escape a text and mark what is between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _static(name: str) -> str:
    return (Path(__file__).parent / "static" / name).read_text(encoding="utf-8")
