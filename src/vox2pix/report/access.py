"""Who may ask ``vox2pix explore``: only whoever has the token of its address.

Other users of a login node reach its ports, and so do pages of other servers in the same browser.
"""

import os
import socket
import tempfile
import time
import webbrowser
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from hmac import compare_digest
from html import escape
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_REFUSAL = b"Open the address that vox2pix explore printed, with its token.\n"
_ATTEMPTS, _PAUSE = 100, 0.1  # to reach the server that was just started; seconds between them


class TokenRequired:
    """Pass on requests, of HTTP and of WebSocket, that carry the token; refuse all others (403).

    The token comes in the address of the page, and afterwards in a cookie that scripts cannot
    read and other sites do not send. A request from a page of another origin is refused even
    with the cookie: servers on other ports of this machine count as the same site.
    """

    def __init__(self, app: App, token: str, origins: tuple[str, ...], cookie: str) -> None:
        self._app, self._token, self._origins, self._cookie = app, token, origins, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif not self._may_ask(scope):
            await _refuse(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, self._with_headers(scope, send))

    def _may_ask(self, scope: Scope) -> bool:
        origin = _header(scope, b"origin")
        if origin is not None and origin not in self._origins:
            return False
        return self._is_token(self._from_cookie(scope)) or self._is_token(_from_query(scope))

    def _is_token(self, given: str) -> bool:
        return compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode())

    def _from_cookie(self, scope: Scope) -> str:
        try:
            cookie = SimpleCookie(_header(scope, b"cookie") or "").get(self._cookie)
        except CookieError:
            return ""
        return "" if cookie is None else cookie.value

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        """Keep the token out of referrers; turn a token in the address into a cookie."""
        added = [(b"referrer-policy", b"no-referrer"), (b"cache-control", b"no-store")]
        if self._is_token(_from_query(scope)):
            cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
            added.append((b"set-cookie", cookie.encode()))
        replaced = {name for name, _ in added[:2]}

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                own = [(name, value) for name, value in headers if name.lower() not in replaced]
                message = {**message, "headers": [*own, *added]}
            await send(message)

        return send_with_headers


def _header(scope: Scope, name: bytes) -> str | None:
    """Return a header, repeated ones joined (no check accepts that); None where it is absent."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
    return "; ".join(values) if values else None


def _from_query(scope: Scope) -> str:
    given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
    return given[0] if len(given) == 1 else ""


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 403 in one sentence; so does a WebSocket that is closed before it is accepted."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(_REFUSAL)).encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSAL})


@contextmanager
def private_link(address: str) -> Iterator[Path]:
    """Yield an HTML file, readable by this user alone, that leads to an address with its token.

    A browser that is started with an address shows it to every user who lists processes; one that
    is started with this file does not.
    """
    handle, name = tempfile.mkstemp(prefix="vox2pix-explore-", suffix=".html")
    link = escape(address)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(
                '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
                f'<meta http-equiv="refresh" content="0; url={link}"><a href="{link}">Open</a>\n'
            )
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def show_in_browser(page: Path, address: str) -> None:
    """Open a page in the browser once the server that it leads to answers."""
    at = urlsplit(address)

    def wait_and_open() -> None:
        for _ in range(_ATTEMPTS):
            try:
                socket.create_connection((at.hostname or "", at.port or 80), timeout=1).close()
            except OSError:
                time.sleep(_PAUSE)
                continue
            webbrowser.open(page.as_uri())
            return

    Thread(target=wait_and_open, daemon=True).start()
