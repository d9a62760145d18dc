"""A real S3 server on this machine, and a proxy before it that counts, delays and fails."""

import http.client
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "127.0.0.1"
SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate."
    b"</Message></Error>"
)


@dataclass
class Request:
    """One request that reached the proxy, and the bytes of the answer's body."""

    method: str
    path: str
    range: str | None
    sent: int = 0


@dataclass
class Fault:
    """What befalls the next requests whose path holds ``match``: unavailable, cut or corrupt."""

    kind: str
    match: str = ""
    method: str = "GET"
    times: int = 1


@dataclass
class Proxy:
    """Where tests send their requests."""

    target: tuple[str, int]
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    delay: float = 0.0

    def __post_init__(self):
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer((HOST, 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_port}"

    def reset(self) -> None:
        self.requests.clear()
        self.faults.clear()
        self.delay = 0.0

    def sent(self, match: str = "") -> int:
        """Bytes of bodies that were answered to GET requests."""
        return sum(r.sent for r in self.requests if match in r.path and r.method == "GET")

    def asked(self, match: str = "", method: str = "GET") -> list[Request]:
        return [r for r in self.requests if match in r.path and r.method == method]

    def fault_of(self, method: str, path: str) -> str | None:
        for fault in self.faults:
            if fault.times and fault.match in path and fault.method == method:
                fault.times -= 1
                return fault.kind
        return None

    def stop(self) -> None:
        self._server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    proxy: Proxy

    def log_message(self, *args):
        pass

    def handle_expect_100(self):
        answered = super().handle_expect_100()
        self.wfile.flush()
        return answered

    def _pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers.get("Range"))
        self.proxy.requests.append(request)
        time.sleep(self.proxy.delay)
        fault = self.proxy.fault_of(self.command, self.path)
        if fault == "unavailable":
            return self._answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
        if fault == "denied":
            denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            return self._answer(403, {"Content-Type": "application/xml"}, denied)
        upstream = http.client.HTTPConnection(*self.proxy.target)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
        upstream.request(self.command, self.path, body, headers)
        response = upstream.getresponse()
        content = response.read()
        headers = {
            k: v
            for k, v in response.getheaders()
            if k.lower() not in ("connection", "transfer-encoding", "content-length")
        }
        if self.command == "HEAD":
            headers["Content-Length"] = response.getheader("Content-Length") or "0"
        upstream.close()
        if fault == "corrupt":
            content = content[:-1] + bytes([content[-1] ^ 1])
        request.sent = len(content) // 2 if fault == "cut" else len(content)
        self._answer(response.status, headers, content, cut=fault == "cut")

    def _answer(self, status, headers, content, cut=False):
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.wfile.flush()
        if cut:
            self.close_connection = True
            self.connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815


class Server:
    """moto's S3 server behind a proxy."""

    def __init__(self):
        import boto3  # here, so that tests without these packages are skipped, not broken
        from moto.server import ThreadedMotoServer

        self._moto = ThreadedMotoServer(HOST, 0, verbose=False)
        self._moto.start()
        self.proxy = Proxy(self._moto.get_host_and_port())
        self._n = 0
        self.client = boto3.client(
            "s3",
            endpoint_url="http://{}:{}".format(*self._moto.get_host_and_port()),
            aws_access_key_id="x",
            aws_secret_access_key="x",
            region_name="us-east-1",
        )

    def new_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        self._n += 1
        name = f"bucket-{self._n}"
        self.client.create_bucket(Bucket=name)
        return name

    def upload(self, folder: Path, bucket: str, prefix: str = "") -> None:
        """Put every file below a folder into a bucket."""
        for path in folder.rglob("*"):
            if path.is_file():
                key = f"{prefix}{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    def keys(self, bucket: str) -> list[str]:
        entries = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        return [entry["Key"] for entry in entries]

    def stop(self) -> None:
        self.proxy.stop()
        self._moto.stop()
