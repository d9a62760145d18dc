"""Take the images of the README and the pages from the demo's runs: ``make figures``."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from generated import EXAMPLES

from vox2pix.config import load_config
from vox2pix.pipeline import Run
from vox2pix.pipeline.reconstruct import STAGES
from vox2pix.pipeline.reconstruct._8_report import sheet_of
from vox2pix.pipeline.stage import stage_keys
from vox2pix.report import save_sheet
from vox2pix.store import RunFolder

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "docs" / "_static"

ENCODING = (
    "roi_means.csv",
    "figures/latents_by_region.png",
    "figures/unique_by_strength.png",
    "figures/unique_by_step.png",
    "figures/layers_by_step.png",
    "figures/flat_best_layer_step3.png",
)
"""What the page on encoding shows of ``runs/demo-encoding/encoding``."""


def draw_sheet(run_folder: Path, target: Path) -> None:
    """Draw one best, one median and one worst image of a run, at half the sheet's size."""
    run = Run(load_config(run_folder / "config.toml"), RunFolder(run_folder))
    run.keys |= stage_keys(STAGES, run)
    sheet = sheet_of(run, per_group=1)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_sheet(sheet.resize((sheet.width // 2, sheet.height // 2)), target)


def photograph(page: Path, target: Path) -> bool:
    """Photograph the top of a report; where there is no browser, leave what is there."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
        except Error:
            return False
        tab = browser.new_page(viewport={"width": 1280, "height": 1064}, color_scheme="light")
        tab.goto(page.as_uri(), wait_until="networkidle")
        tab.screenshot(path=target)
        browser.close()
    return True


def run_examples(target: Path) -> None:
    """Run every example, and keep its figure and what it prints."""
    target.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"MPLBACKEND": "Agg"}
    for name in EXAMPLES:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), folder]
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            printed = done.stdout.replace(folder, "my-folder")
            (target / f"{name}.txt").write_text(printed, encoding="utf-8")
            figure = Path(folder) / f"{name}.png"
            if figure.is_file():
                shutil.copyfile(figure, target / figure.name)


def main(demo: Path, encoding: Path) -> None:
    """Make all images from a reconstruction and an encoding analysis."""
    (STATIC / "encoding").mkdir(parents=True, exist_ok=True)
    draw_sheet(demo, STATIC / "demo.png")
    shutil.copyfile(demo / "audit.json", STATIC / "audit.json")
    for name in ENCODING:
        shutil.copyfile(encoding / name, STATIC / "encoding" / Path(name).name)
    if not photograph(demo / "report.html", STATIC / "report.png"):
        sys.stdout.write("There is no Chromium: report.png is left as it was.\n")
    run_examples(STATIC / "examples")
    sys.stdout.write(f"{STATIC}\n")


if __name__ == "__main__":
    main(ROOT / "runs" / "demo", ROOT / "runs" / "demo-encoding" / "encoding")
