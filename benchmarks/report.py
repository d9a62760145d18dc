"""Build and open the report of a large run: 1,000 test pictures, five samples each.

    python benchmarks/report.py [--pictures 1000] [--samples 5] [--size 64]

Prints how long the page takes to build, how large it is beside its pictures, and how long a
browser takes from opening it to the gallery's answer to a change of the order.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tomli_w

from vox2pix.config import Config
from vox2pix.report import Nearest, save_gallery, write_report
from vox2pix.store import ShardedArray

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_METRICS = (
    ("pixcorr", ""),
    ("ssim", ""),
    ("two-way phantom", "original"),
    ("two-way phantom", "reconstruction"),
)


def make_run(path: Path, n: int, samples: int, size: int) -> None:
    """Write a run folder of smooth random pictures, with all that a report shows of them."""
    rng = np.random.default_rng(0)
    config = Config.model_validate({"name": "large", "data": {"source": "phantom"}})
    path.mkdir(parents=True)
    text = tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
    (path / "config.toml").write_text(text)
    ids = [f"{i:05d}" for i in range(n)]

    def pictures(*shape: int) -> np.ndarray:
        coarse = rng.integers(0, 256, (*shape, 8, 8, 3), np.uint8)
        return coarse.repeat(size // 8, axis=-3).repeat(size // 8, axis=-2)

    conditions = {"z-decode": 1, "z": samples, "c": samples, "z+c": samples}
    conditions |= {"true-z": 1, "true-c": 1, "true-z+c": 1, "shuffled": 1}
    for name, count in conditions.items():
        folder = path / "pictures" / f"{name}-0123456789abcdef"
        drawn = ShardedArray(folder, (n, count, size, size, 3), np.uint8, 25)
        for shard in range(drawn.n_shards):
            rows = drawn.rows(shard)
            drawn.write(shard, pictures(rows.stop - rows.start, count))
    nearest = Nearest(
        [[f"t{j}" for j in range(5)]] * n, rng.random((n, 5)), "1 - Pearson r", pictures(n, 5)
    )
    captions = [[f"a thing number {i}", f"thing {i} again"] for i in range(n)]
    save_gallery(path / "gallery", ids, pictures(n), captions=captions, nearest=nearest)
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


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--size", type=int, default=64, help="pixels a side, a multiple of 8")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "large"
        make_run(run, wanted.pictures, wanted.samples, wanted.size)
        start, cpu = time.perf_counter(), time.process_time()
        page = write_report([run])
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        assets = list((run / "report_assets").glob("*"))
        megabytes = sum(path.stat().st_size for path in assets) / 1e6
        print(f"built in {wall:.1f} s ({cpu:.1f} s of processor time)")
        print(
            f"page {page.stat().st_size / 1e6:.1f} MB, {len(assets):,} pictures {megabytes:.0f} MB"
        )
        opened = open_page(page)
        if opened is None:
            print(f"not opened: none of {', '.join(_BROWSERS)} is on the path")
        else:
            print(f"usable in {opened['usable_s']:.2f} s, sorted in {opened['sorted_s']:.2f} s")


if __name__ == "__main__":
    main()
