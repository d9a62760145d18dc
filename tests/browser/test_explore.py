"""The page of ``vox2pix explore`` in a real browser."""

import os
import re
import shutil
import signal
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from pipeline.conftest import experiment
from vox2pix.pipeline import run

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LONG = 60_000  # milliseconds, for machines that are busy


@pytest.fixture(scope="module")
def page():
    """A page of a browser, and what it complained of or asked for."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is on the path")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.complaints, page.requests = [], []
        page.on("console", lambda m: page.complaints.append(m.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda r: page.requests.append(r.url))
        page.on("websocket", lambda w: page.requests.append(w.url))
        yield page
        browser.close()


@pytest.fixture(scope="module")
def address(page, tmp_path_factory):
    """Where the page of a small run is served; stopped by Ctrl-C, which is no error."""
    pytest.importorskip("nicegui", reason="NiceGUI is not installed")
    folder = tmp_path_factory.mktemp("runs") / "small"
    drawn = {"conditions": ["z+c"], "ceilings": [], "shuffled": False}
    run(experiment(generate=drawn, audit={"enabled": False}), folder)
    command = [sys.executable, "-m", "vox2pix.cli", "explore", str(folder), "--no-browser"]
    # NiceGUI behaves otherwise where it sees pytest
    env = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
        try:
            found = next(m for line in server.stdout if (m := re.search(r"http://\S+", line)))
            yield found[0]
        finally:
            server.send_signal(signal.SIGINT)
            status = server.wait(60)
    assert status == 0


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    """Where screenshots are kept for a person to look at."""
    kept = os.environ.get("VOX2PIX_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def wait_until_drawn(page) -> None:
    page.get_by_text("done", exact=True).wait_for(timeout=_LONG)


def picture(page, title: str) -> str:
    """Return the address of a picture, which holds it."""
    figure = page.locator(".three figure").filter(has_text=title)
    return figure.locator("img").last.get_attribute("src")


def pixels(page, title: str) -> np.ndarray:
    """Return the values of a picture, 0 to 255."""
    data = b64decode(picture(page, title).partition(",")[2])
    return np.asarray(Image.open(BytesIO(data))).astype(int)


def open_page(page, address: str) -> None:
    # the server says where it is before it listens
    for _ in range(100):
        try:
            page.goto(address)
        except Exception as error:
            if "ERR_CONNECTION_REFUSED" not in str(error):
                raise
            page.wait_for_timeout(200)
            continue
        wait_until_drawn(page)
        return
    raise AssertionError(f"{address} never answered")


def test_it_draws_first_what_the_run_drew_and_then_what_is_asked_for(page, address, shots):
    open_page(page, address)
    # drawn one by one here, in batches there: floating-point rounding, then 8 bit
    assert np.abs(pixels(page, "Drawn now") - pixels(page, "Drawn by the run")).max() <= 1
    assert picture(page, "Seen") != picture(page, "Drawn now")
    assert page.locator(".strip figure").count() == 2  # 0.8 of three steps
    page.screenshot(path=shots / "explore.png")
    before = picture(page, "Drawn now")
    page.get_by_label("Seed").fill("5")
    page.get_by_label("Seed").press("Tab")
    for _ in range(_LONG // 100):
        page.wait_for_timeout(100)
        if picture(page, "Drawn now") != before:
            break
    wait_until_drawn(page)
    assert np.abs(pixels(page, "Drawn now") - pixels(page, "Drawn by the run")).max() > 1
    page.get_by_role("button", name="As the run drew it").click()
    for _ in range(_LONG // 100):
        page.wait_for_timeout(100)
        if picture(page, "Drawn now") == before:
            break
    assert picture(page, "Drawn now") == before
    assert page.get_by_label("Seed").input_value() == "0"


def test_it_asks_nobody_else_and_complains_of_nothing(page, address):
    open_page(page, address)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(300)
    elsewhere = [
        url
        for url in page.requests
        if not url.startswith((address, address.replace("http", "ws"), "data:"))
    ]
    assert elsewhere == []
    assert page.complaints == []


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/config.toml",
        "/file=/etc/passwd",
        "/gradio_api/file=/etc/passwd",
        "/../../../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/_nicegui/static/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
    ],
)
def test_no_file_can_be_read_through_it(page, address, path):
    open_page(page, address)
    with pytest.raises(HTTPError) as refused:
        urlopen(address + path, timeout=20)
    assert refused.value.code == 404


def test_it_answers_to_no_other_name(page, address):
    open_page(page, address)
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(address, headers={"Host": "elsewhere.example"}), timeout=20)
    assert refused.value.code == 400
