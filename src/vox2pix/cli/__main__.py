"""The command line, as ``python -m vox2pix.cli``."""

from vox2pix.cli import main

main()
