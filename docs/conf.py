"""Sphinx: everything is built from this repository, without the network."""

import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

sys.path.insert(0, str(Path(__file__).parent))

from generated import PROJECT, fill

project = "vox2pix"
author = "The vox2pix developers"
version = release = PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"vox2pix {release}"
html_static_path = ["_static"]
html_css_files = ["vox2pix.css"]
html_show_sourcelink = False
html_math_renderer = "mathml"

# Pages that hold generated parts, and are therefore never up to date.
GENERATED_PAGES = [
    "audit", "cli", "configuration", "design", "encoding", "examples", "metrics", "quickstart",
]  # fmt: skip


def write_mathml(translator, node):
    """Write an equation as MathML, which browsers draw without a script."""
    is_block = isinstance(node, nodes.math_block)
    tex = node.astext().strip().replace(r"\dots", r"\ldots")
    if is_block and (r"\\" in tex or "&" in tex):
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    mathml = tex2mathml(tex, as_block=is_block)
    translator.body.append(f'<div class="math">{mathml}</div>' if is_block else mathml)
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (write_mathml, None), (write_mathml, None))
    app.connect("env-get-outdated", lambda *_: GENERATED_PAGES)
    app.connect("source-read", lambda app, page, source: source.insert(0, fill(source.pop())))
