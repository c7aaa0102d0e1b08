"""An HTTP server on loopback, in threads of its own."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HOST = "127.0.0.1"


class _QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: what was asked is in the request log."""

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        """Close the connection; otherwise one without an answer would stay open for another."""
        self.close_connection = True


class LoopbackServer:
    """Serves a WSGI application on 127.0.0.1, a thread for each request.

    Args:
        app: the application.
        port: where to listen; 0 picks a free port.

    Raises:
        OSError: if the port is taken.
    """

    def __init__(self, app: WSGIApplication, port: int) -> None:
        # Given a bare port, werkzeug ends the process when it is taken.
        with socket.create_server((HOST, port)) as listener:
            self._server = make_server(
                HOST,
                port,
                app,
                threaded=True,
                request_handler=_QuietHandler,
                fd=listener.fileno(),
            )
        self.port = self._server.port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. Requests that are being answered are left to end by themselves."""
        self._server.shutdown()
        self._thread.join()
