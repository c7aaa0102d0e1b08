"""YouTube at the demo's Google: it accepts videos in chunks, and stores only their size.

See https://developers.google.com/youtube/v3/guides/using_resumable_upload_protocol.
"""

import hashlib
import json
import re
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

from werkzeug import Request, Response

from django_google_link.testing import FakeGoogle, FakeUser

SCOPES = [
    "https://www.googleapis.com/auth/youtube.upload",
    "https://www.googleapis.com/auth/youtube",
]
PATH = "/upload/youtube/v3/videos"


@dataclass
class Session:
    """A video that is being uploaded."""

    title: str
    size: int
    received: int = 0
    digest: Any = field(default_factory=hashlib.sha256)


class YouTube:
    """The method ``videos.insert``, in its resumable form."""

    def __init__(self, google: FakeGoogle) -> None:
        self.sessions: dict[str, Session] = {}
        self._google = google
        self._lock = threading.Lock()
        google.route(PATH, methods=["POST"], scopes=SCOPES)(self.begin)
        google.route(PATH, methods=["PUT"], scopes=SCOPES)(self.take)

    def begin(self, request: Request, user: FakeUser) -> Response:
        """Start a session, and return its address for the chunks."""
        body = request.get_json()
        size = int(request.headers["X-Upload-Content-Length"])
        upload_id = secrets.token_urlsafe(40)
        with self._lock:
            self.sessions[upload_id] = Session(body["snippet"]["title"], size)
        location = f"{self._google.url}{PATH}?uploadType=resumable&upload_id={upload_id}"
        return Response(status=200, headers={"Location": location})

    def take(self, request: Request, user: FakeUser) -> Response:
        """Accept a chunk, or report the progress. Bytes that have already arrived are ignored."""
        chunk = request.get_data()
        with self._lock:
            session = self.sessions.get(request.args.get("upload_id", ""))
            if session is None:
                return Response(status=404)
            start = re.match(r"bytes (\d+)-", request.headers.get("Content-Range", ""))
            if start:
                if int(start[1]) > session.received:
                    return Response(status=400)
                fresh = chunk[session.received - int(start[1]) :]
                session.digest.update(fresh)
                session.received += len(fresh)
            return _done(session) if session.received == session.size else _so_far(session)


def _so_far(session: Session) -> Response:
    headers = {"Range": f"bytes=0-{session.received - 1}"} if session.received else {}
    return Response(status=308, headers=headers)


def _done(session: Session) -> Response:
    video = {
        "kind": "youtube#video",
        "id": session.digest.hexdigest()[:11],
        "snippet": {"title": session.title},
        "status": {"uploadStatus": "uploaded", "privacyStatus": "private"},
    }
    return Response(json.dumps(video), content_type="application/json")
