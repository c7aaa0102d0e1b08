"""What stands between the workers and Google, and holds each request until it may go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@contextmanager
def holding_proxy(port: int, hold: Callable[[str], None]) -> Iterator[str]:
    """Hand every request on to a server on this machine, and return the address to use instead.

    Args:
        port: of that server.
        hold: called with the method and the path before a request is handed on.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hold(f"{self.command} {self.path}")
            with closing(HTTPConnection("127.0.0.1", port)) as target:
                target.request(self.command, self.path, body, dict(self.headers))
                response = target.getresponse()
                answer = response.read()
            self.send_response(response.status)
            self.send_header("Content-Type", response.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
