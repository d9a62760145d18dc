"""The command line, as ``python -m vox2pix``."""

from vox2pix.cli import main

main()
