"""Who may ask the page of ``vox2pix explore``; tests/browser asks a real server."""

import asyncio
import stat

import pytest

from vox2pix.report.access import TokenRequired, private_link

TOKEN = "t0ken"
HERE = "http://127.0.0.1:8080"


async def _app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    else:
        await send({"type": "websocket.accept"})


def answer(kind="http", query="", **headers) -> dict:
    """Return the first message that answers a request."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    scope = {
        "type": kind,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    asyncio.run(TokenRequired(_app, TOKEN, (HERE,), "own")(scope, receive, send))
    return sent[0]


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        ({"query": f"token={TOKEN}"}, True),
        ({"cookie": f"own={TOKEN}"}, True),
        ({"cookie": f"other=1; own={TOKEN}", "origin": HERE}, True),
        ({}, False),
        ({"query": "token="}, False),
        ({"query": "token=t0ke"}, False),
        ({"query": f"token=x&token={TOKEN}"}, False),
        ({"query": f"other={TOKEN}"}, False),
        ({"query": "token=%ff%00"}, False),
        ({"cookie": f"other={TOKEN}"}, False),
        ({"cookie": "own"}, False),
        ({"cookie": "own=\x80\xff; =;;\""}, False),
        ({"cookie": f"own={TOKEN}", "origin": "http://127.0.0.1:8081"}, False),
        ({"cookie": f"own={TOKEN}", "origin": "null"}, False),
        ({"cookie": f"own={TOKEN}", "origin": ""}, False),
    ],
)  # fmt: skip
def test_only_the_token_lets_in(request_, allowed):
    assert answer(**request_)["status"] == (200 if allowed else 403)
    opened = answer("websocket", **request_)["type"]
    assert opened == ("websocket.accept" if allowed else "websocket.close")


def test_only_this_user_reads_the_page_that_leads_there():
    with private_link(f"{HERE}/?token=a&b") as page:
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        assert f'url={HERE}/?token=a&amp;b"' in page.read_text()
    assert not page.exists()
