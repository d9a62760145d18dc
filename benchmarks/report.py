"""Build and open the report of a large run: 1,000 test images, five samples each.

    python benchmarks/report.py [--images 1000] [--samples 5] [--size 64] [--small] [--json]

Prints how long the page takes to build, how large it is beside its images, and how long a
browser takes from opening it to the gallery's answer to a change of the order.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w

from results import machine, option_parser, show
from vox2pix.config import Config
from vox2pix.report import Nearest, save_gallery, write_report
from vox2pix.store import ShardedArray, claim

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_METRICS = (
    ("pixcorr", ""),
    ("ssim", ""),
    ("two-way phantom", "original"),
    ("two-way phantom", "reconstruction"),
)


def make_run(path: Path, n: int, samples: int, size: int) -> None:
    """Write a run folder of smooth random images, with all that a report shows of them."""
    rng = np.random.default_rng(0)
    config = Config.model_validate({"name": "large", "data": {"source": "phantom"}})
    claim(path, "run")
    text = tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
    (path / "config.toml").write_text(text)
    ids = [f"{i:05d}" for i in range(n)]

    def images(*shape: int) -> np.ndarray:
        coarse = rng.integers(0, 256, (*shape, 8, 8, 3), np.uint8)
        return coarse.repeat(size // 8, axis=-3).repeat(size // 8, axis=-2)

    conditions = {"z-decode": 1, "z": samples, "c": samples, "z+c": samples}
    conditions |= {"true-z": 1, "true-c": 1, "true-z+c": 1, "shuffled": 1}
    for name, count in conditions.items():
        folder = path / "images" / f"{name}-0123456789abcdef"
        drawn = ShardedArray(folder, (n, count, size, size, 3), np.uint8, 25)
        for shard in range(drawn.n_shards):
            rows = drawn.rows(shard)
            drawn.write(shard, images(rows.stop - rows.start, count))
    nearest = Nearest(
        [[f"t{j}" for j in range(5)]] * n, rng.random((n, 5)), "1 - Pearson r", images(n, 5)
    )
    captions = [[f"a thing number {i}", f"thing {i} again"] for i in range(n)]
    save_gallery(path / "gallery", ids, images(n), captions=captions, nearest=nearest)
    tables = [
        pd.DataFrame(
            {
                "stimulus_id": ids,
                "condition": name,
                "metric": metric,
                "direction": direction,
                "score": rng.random(n),
            }
        )
        for name in conditions
        for metric, direction in _METRICS
    ]
    pd.concat(tables).to_csv(path / "scores.csv", index=False)


def open_page(page: Path) -> dict[str, float] | None:
    """Return the seconds until a page is drawn and sorted anew; None without a browser."""
    from playwright.sync_api import sync_playwright

    path = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        opened = browser.new_page()
        start = time.perf_counter()
        opened.goto(page.as_uri(), wait_until="commit")
        opened.wait_for_selector("#status:not(:empty)")
        usable = time.perf_counter()
        opened.select_option("[name=show]", "all")
        opened.wait_for_selector("#status:has-text('best first')")
        again = time.perf_counter()
        browser.close()
    return {"usable_s": usable - start, "sorted_s": again - usable}


def measure(n: int, samples: int, size: int) -> dict[str, Any]:
    """Build the page of a large run, and open it where there is a browser."""
    results = {"n_images": n, "n_samples": samples, "pixels": size, "machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "large"
        make_run(run, n, samples, size)
        start, cpu = time.perf_counter(), time.process_time()
        page = write_report([run])
        results["build_s"] = round(time.perf_counter() - start, 1)
        results["build_cpu_s"] = round(time.process_time() - cpu, 1)
        assets = list(run.glob("report_assets-*/[!.]*"))
        results["page_mb"] = round(page.stat().st_size / 1e6, 1)
        results["n_assets"] = len(assets)
        results["assets_mb"] = round(sum(path.stat().st_size for path in assets) / 1e6, 1)
        opened = open_page(page) or {}
    return results | {name: round(seconds, 2) for name, seconds in opened.items()}


def table(info: dict[str, Any]) -> str:
    """Return the figures as text for people."""
    lines = [
        f"{info['n_images']:,} test images, {info['n_samples']} samples, {info['pixels']} px",
        f"built in           {info['build_s']:>8.1f} s ({info['build_cpu_s']:.1f} s of processor)",
        f"page               {info['page_mb']:>8.1f} MB",
        f"images beside it {info['assets_mb']:>8.1f} MB in {info['n_assets']:,} files",
    ]
    if "usable_s" not in info:
        return "\n".join([*lines, f"not opened: none of {', '.join(_BROWSERS)} is on the path"])
    lines += [f"usable in          {info['usable_s']:>8.2f} s"]
    return "\n".join([*lines, f"sorted anew in     {info['sorted_s']:>8.2f} s"])


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and show what it found."""
    parser = option_parser(__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--size", type=int, default=64, help="pixels a side, a multiple of 8")
    options = parser.parse_args(arguments)
    n, samples = (30, 2) if options.small else (options.images, options.samples)
    results = measure(n, samples, options.size)
    show({"benchmark": "report"} | results, table(results), options, "report")
    return 0


if __name__ == "__main__":
    sys.exit(main())
