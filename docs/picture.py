"""Draw the picture of the README from the demo's run: ``make picture``."""

import sys
from pathlib import Path

from vox2pix.config import load_config
from vox2pix.pipeline.run import Run, stage_keys
from vox2pix.pipeline.stages import STAGES, sheet_of
from vox2pix.report import save_sheet
from vox2pix.store import RunFolder

ROOT = Path(__file__).resolve().parents[1]


def main(run_folder: Path, target: Path) -> None:
    """Draw one best, one median and one worst picture of a run, at half the sheet's size."""
    run = Run(load_config(run_folder / "config.toml"), RunFolder(run_folder))
    run.keys |= stage_keys(STAGES, run)
    sheet = sheet_of(run, per_group=1)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_sheet(sheet.resize((sheet.width // 2, sheet.height // 2)), target)
    sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main(ROOT / "runs" / "demo", ROOT / "docs" / "_static" / "demo.png")
