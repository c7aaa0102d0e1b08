"""An HTTP server on loopback, in threads of this process."""

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
        """Log nothing: requests are recorded in the request log."""

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        """Close the connection, which would otherwise stay open after an aborted response."""
        self.close_connection = True


class LoopbackServer:
    """Serves a WSGI application on 127.0.0.1, with a thread for each request.

    Args:
        app: the application.
        port: the port; 0 chooses a free one.

    Raises:
        OSError: if the port is in use.
    """

    def __init__(self, app: WSGIApplication, port: int) -> None:
        # Without a listener, werkzeug exits the process if the port is in use.
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
        """Stop listening. Running requests are finished by their threads."""
        self._server.shutdown()
        self._thread.join()
