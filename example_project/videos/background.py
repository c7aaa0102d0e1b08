"""Uploads in a thread. In your own site, call ``upload`` from a task queue instead."""

import logging
from pathlib import Path
from threading import Thread

from django.db import connection
from googleapiclient.errors import HttpError

from django_google_link.exceptions import ConsentRequiredError

from .models import Video
from .uploads import upload

logger = logging.getLogger(__name__)


def begin(video: Video) -> None:
    """Start uploading a video, or the rest of it, in the background."""
    video.problem = ""
    video.save(update_fields=["problem", "updated_at"])
    Thread(target=_in_a_thread, args=(video,), daemon=True).start()


def run(video: Video) -> None:
    """Upload a video from its stored copy, and record what went wrong."""
    try:
        for _ in upload(video):
            pass
        Path(video.path).unlink()
    except ConsentRequiredError:
        _stop(video, "Google no longer lets this site upload for you.")
    except HttpError as error:
        _stop(video, f"YouTube has rejected it: {error.reason}")
    except Exception:
        logger.exception("The upload of video %s has failed.", video.pk)
        _stop(video, "Google cannot be reached.")


def _in_a_thread(video: Video) -> None:
    try:
        run(video)
    finally:
        connection.close()


def _stop(video: Video, problem: str) -> None:
    video.problem = problem[:200]
    video.save(update_fields=["problem", "updated_at"])
