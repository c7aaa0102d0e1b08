"""Upload to YouTube, a chunk at a time.

See https://developers.google.com/youtube/v3/guides/using_resumable_upload_protocol.
"""

import mimetypes
import random
import time
from collections.abc import Iterator
from typing import Any

from google.auth.exceptions import TransportError
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaFileUpload
from httplib2 import HttpLib2Error

from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.services import build_service

from .models import Video

YOUTUBE_UPLOAD = "https://www.googleapis.com/auth/youtube.upload"

#: Bytes, a multiple of 256 KiB. Larger chunks are faster, but more is repeated after a failure.
CHUNK = 4 * 256 * 1024

FAILURES_IN_A_ROW = 6
PAUSE = 1.0  # seconds, doubled after each failure

_PASSING = (
    RefreshUnavailableError,
    TransportError,
    HttpLib2Error,
    ConnectionError,
    TimeoutError,
)


class Chunks(MediaFileUpload):
    """A file whose chunks can be sent again.

    googleapiclient would send a stream only once, and nothing after a token has expired.
    """

    def has_stream(self) -> bool:
        """Return ``False``, so that each chunk is read as a whole."""
        return False


def upload(video: Video) -> Iterator[int]:
    """Upload a video to its user's channel, and yield the number of bytes after each chunk.

    An interrupted upload is resumed, in this process or in another. If a token expires during the
    upload, the service replaces it.

    Raises:
        ConsentRequiredError: when the user has to link their account first, or again.
        HttpError: when YouTube rejects the video, for example because the quota is used up.
    """
    request = _request(video)
    answer, failures = None, 0
    while answer is None:
        try:
            _, answer = request.next_chunk()
        except _PASSING:
            failures += 1
            if failures > FAILURES_IN_A_ROW:
                raise
        except HttpError as error:
            if error.status_code in {404, 410} and request.resumable_uri:
                # Google deletes unfinished uploads after a week: start again.
                request.resumable_uri, request.resumable_progress = None, 0
                continue
            failures += 1
            if not _passes(error) or failures > FAILURES_IN_A_ROW:
                raise
        else:
            failures = 0
            _keep(video, request, answer)
            yield video.sent
            continue
        time.sleep(PAUSE * 2 ** (failures - 1) * random.uniform(0.5, 1))  # noqa: S311


def _request(video: Video) -> Any:
    youtube = build_service(video.user, "youtube", "v3", scopes=[YOUTUBE_UPLOAD])
    kind, _ = mimetypes.guess_type(video.path)
    request = youtube.videos().insert(
        part="snippet,status",
        body={"snippet": {"title": video.title}, "status": {"privacyStatus": "private"}},
        media_body=Chunks(
            video.path,
            mimetype=kind or "application/octet-stream",
            chunksize=CHUNK,
            resumable=True,
        ),
    )
    if video.session_uri:
        request.resumable_uri, request.resumable_progress = video.session_uri, video.sent
    return request


def _keep(video: Video, request: Any, answer: Any) -> None:
    video.session_uri = request.resumable_uri
    video.sent = video.size if answer else request.resumable_progress
    video.youtube_id = answer["id"] if answer else ""
    video.problem = ""
    video.save(update_fields=["session_uri", "sent", "youtube_id", "problem", "updated_at"])


def _passes(error: HttpError) -> bool:
    return error.status_code >= 500 or error.status_code in {408, 429}
