"""The command line: parse, call, print."""

# Each adds its commands to the application, in the order in which ``--help`` lists them.
from vox2pix.cli import runs, start, scores, data  # noqa: F401, I001
from vox2pix.cli.app import app, main

__all__ = ["app", "main"]
