"""The page of ``vox2pix explore`` in a real browser."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from pipeline.conftest import experiment
from vox2pix.pipeline.commands import run

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
    command = [sys.executable, "-m", "vox2pix", "explore", str(folder), "--no-browser"]
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


def image(page, title: str) -> str:
    """Return the address of an image, which holds it."""
    figure = page.locator(".three figure").filter(has_text=title)
    return figure.locator("img").last.get_attribute("src")


def pixels(page, title: str) -> np.ndarray:
    """Return the values of an image, 0 to 255."""
    data = b64decode(image(page, title).partition(",")[2])
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
    assert image(page, "Seen") != image(page, "Drawn now")
    assert page.locator(".strip figure").count() == 2  # 0.8 of three steps
    page.screenshot(path=shots / "explore.png")
    before = image(page, "Drawn now")
    page.get_by_label("Seed").fill("5")
    page.get_by_label("Seed").press("Tab")
    for _ in range(_LONG // 100):
        page.wait_for_timeout(100)
        if image(page, "Drawn now") != before:
            break
    wait_until_drawn(page)
    assert np.abs(pixels(page, "Drawn now") - pixels(page, "Drawn by the run")).max() > 1
    page.get_by_role("button", name="As the run drew it").click()
    for _ in range(_LONG // 100):
        page.wait_for_timeout(100)
        if image(page, "Drawn now") == before:
            break
    assert image(page, "Drawn now") == before
    assert page.get_by_label("Seed").input_value() == "0"


def test_it_asks_nobody_else_and_complains_of_nothing(page, address):
    open_page(page, address)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(300)
    server = root(address)
    elsewhere = [
        url
        for url in page.requests
        if not url.startswith((server, server.replace("http", "ws"), "data:"))
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
    assert ask(root(address) + path, token_of(address))[0] == 404


def test_it_answers_to_no_other_name(page, address):
    open_page(page, address)
    assert ask(address, headers={"Host": "elsewhere.example"})[0] == 400


def token_of(address: str) -> str:
    return urlsplit(address).query.removeprefix("token=")


def root(address: str) -> str:
    return "http://" + urlsplit(address).netloc


def ask(url: str, token: str = "", headers: dict[str, str] | None = None) -> tuple[int, str, dict]:
    """Return the status, the text and the headers of an answer."""
    port = urlsplit(url).port
    cookie = {"Cookie": f"vox2pix-{port}={token}"} if token else {}
    try:
        with urlopen(Request(url, headers={**cookie, **(headers or {})}), timeout=20) as answer:
            return answer.status, answer.read().decode("utf-8", "replace"), dict(answer.headers)
    except HTTPError as refused:
        return refused.code, refused.read().decode("utf-8", "replace"), dict(refused.headers)


def loaded_paths(page, address: str) -> list[str]:
    """Return every path that the page asks the server for."""
    found = {urlsplit(url).path for url in page.requests if urlsplit(url).netloc in address}
    return sorted(found)


def test_without_the_token_nothing_is_answered(page, address):
    open_page(page, address)
    paths = loaded_paths(page, address)
    assert any("socket" in path or "_nicegui_ws" in path for path in paths)
    assert any(path.endswith(".js") for path in paths)
    wrong = token_of(address)[:-1] + "!"
    for path in (*paths, "/", "/?token=", f"/?token={wrong}", "/openapi.json", "/docs"):
        for token in ("", wrong):
            status, text, _ = ask(root(address) + path, token)
            assert status == 403, path
            assert text.strip() == (
                "Open the address that vox2pix explore printed, with its token."
            )


def test_a_page_of_another_origin_is_refused_even_with_the_cookie(page, address):
    open_page(page, address)
    for origin in ("http://127.0.0.1:1", "http://elsewhere.example", "null"):
        assert ask(root(address), token_of(address), {"Origin": origin})[0] == 403
    assert ask(root(address), token_of(address), {"Origin": root(address)})[0] == 200


def test_the_token_is_in_no_referrer_and_in_a_cookie_that_scripts_cannot_read(page, address):
    status, text, headers = ask(address)
    assert status == 200
    assert token_of(address) not in text
    assert headers["referrer-policy"] == "no-referrer"
    assert {"HttpOnly", "SameSite=Strict"} <= set(headers["set-cookie"].split("; "))
    open_page(page, address)
    assert token_of(address) not in page.evaluate("document.cookie")


def handshake(address: str, cookie: str = "", origin: str | None = None) -> str:
    """Return the first line that answers a request for a WebSocket."""
    at = urlsplit(address)
    lines = [
        "GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1", f"Host: {at.netloc}",
        "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]  # fmt: skip
    lines += [f"Cookie: vox2pix-{at.port}={cookie}"] if cookie else []
    lines += [f"Origin: {origin}"] if origin else []
    with socket.create_connection((at.hostname, at.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection.makefile("rb").readline().decode().strip()


def test_a_websocket_needs_the_token_and_this_origin_too(page, address):
    open_page(page, address)
    token, here = token_of(address), root(address)
    assert "101" in handshake(address, token, here)
    assert "403" in handshake(address)
    assert "403" in handshake(address, token[:-1] + "!", here)
    assert "403" in handshake(address, token, "http://127.0.0.1:1")
