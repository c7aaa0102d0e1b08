"""The example's upload to YouTube: in chunks, whatever happens on the way."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from googleapiclient.errors import HttpError
from googleapiclient.http import HttpRequest

from django_google_link.exceptions import (
    GrantLostError,
    MissingScopesError,
    RefreshUnavailableError,
)
from django_google_link.models import GoogleAccount
from django_google_link.testing import FakeGoogle, FakeUser, make_google_account
from example_project.demo.youtube import PATH, YouTube
from example_project.videos import background, uploads
from example_project.videos.models import Video
from example_project.videos.uploads import YOUTUBE_UPLOAD, upload
from tests.support.apis import link_account
from tests.support.constants import CALENDAR

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

CHUNK = 256 * 1024
CONTENT = os.urandom(4 * CHUNK + 1000)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five chunks, and no pause after a failure."""
    monkeypatch.setattr(uploads, "CHUNK", CHUNK)
    monkeypatch.setattr(uploads, "PAUSE", 0)


@pytest.fixture
def youtube(google: FakeGoogle) -> YouTube:
    """YouTube."""
    return YouTube(google)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A video of a megabyte."""
    path = tmp_path / "holiday.mp4"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def video(path: Path, user: Any, google: FakeGoogle, alice: FakeUser, youtube: YouTube) -> Video:
    """A video of a user who has allowed to upload."""
    link_account(google, user, alice, YOUTUBE_UPLOAD)
    return Video.of(user, path, "Holiday")


def assert_arrived(video: Video, youtube: YouTube) -> None:
    """Every byte is there, once and in its place."""
    [session] = [each for each in youtube.sessions.values() if each.received]
    assert session.digest.digest() == hashlib.sha256(CONTENT).digest()
    assert video.youtube_id == session.digest.hexdigest()[:11]
    assert Video.objects.get() == video


def test_upload_in_chunks(google: FakeGoogle, video: Video, youtube: YouTube) -> None:
    """Each is told as it arrives."""
    progress = list(upload(video))

    assert progress == [CHUNK, 2 * CHUNK, 3 * CHUNK, 4 * CHUNK, len(CONTENT)]
    assert_arrived(video, youtube)


def test_token_that_expires_on_the_way(google: FakeGoogle, video: Video, youtube: YouTube) -> None:
    """Another is brought, and the chunk sent again as a whole."""
    for sent in upload(video):
        if sent == 2 * CHUNK:
            google.expire_access_tokens()

    assert_arrived(video, youtube)
    assert len(google.requests_to("token")) == 1
    assert len(google.requests_to(PATH)) == 1 + 5 + 1


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"drop": True}])
@pytest.mark.parametrize("after", [0, 1, 4])
def test_failure_on_the_way(
    google: FakeGoogle, video: Video, youtube: YouTube, fault: dict[str, Any], after: int
) -> None:
    """Google is asked how much has arrived, and gets the rest."""
    if not after:
        google.fail_next(2, endpoint=PATH, **fault)
    for number, _ in enumerate(upload(video), start=1):
        if number == after:
            google.fail_next(2, endpoint=PATH, **fault)

    assert_arrived(video, youtube)


def test_google_that_stays_away(google: FakeGoogle, video: Video, youtube: YouTube) -> None:
    """It ends, and goes on where it was the next time."""
    sending = upload(video)
    next(sending)
    google.fail_next(100, endpoint=PATH, status=503)
    with pytest.raises(HttpError):
        next(sending)
    google.fail_next(0, endpoint=PATH)

    assert len(google.requests_to(PATH)) < 20
    assert Video.objects.get().sent == CHUNK


def test_process_that_dies_on_the_way(google: FakeGoogle, video: Video, youtube: YouTube) -> None:
    """Another one goes on with the second chunk."""
    next(upload(video))
    google.clear_requests()

    list(upload(Video.objects.get()))

    video.refresh_from_db()
    assert len(google.requests_to(PATH)) == 4
    assert_arrived(video, youtube)


def test_process_that_dies_before_it_could_note(
    google: FakeGoogle, video: Video, youtube: YouTube
) -> None:
    """What has arrived already is sent again, and counted once."""
    sending = upload(video)
    next(sending)
    next(sending)
    Video.objects.update(sent=CHUNK)

    again = Video.objects.get()
    list(upload(again))

    assert_arrived(again, youtube)


def test_session_that_google_has_forgotten(
    google: FakeGoogle, video: Video, youtube: YouTube
) -> None:
    """It begins again."""
    next(upload(video))
    youtube.sessions.clear()

    list(upload(video))

    assert_arrived(video, youtube)


def test_video_that_youtube_does_not_want(
    google: FakeGoogle, video: Video, youtube: YouTube
) -> None:
    """The quota is used up: no use in trying again."""
    google.fail_next(endpoint=PATH, status=403, body={"error": {"message": "quotaExceeded"}})

    with pytest.raises(HttpError, match="quotaExceeded"):
        list(upload(video))

    assert len(google.requests_to(PATH)) == 1


def test_grant_that_is_lost_on_the_way(
    google: FakeGoogle, video: Video, youtube: YouTube, alice: FakeUser, user: Any
) -> None:
    """Once it is given again, the rest goes."""
    sending = upload(video)
    next(sending)
    google.revoke(alice)
    with pytest.raises(GrantLostError):
        next(sending)
    GoogleAccount.objects.all().delete()
    link_account(google, user, alice, YOUTUBE_UPLOAD)

    list(upload(video))

    assert_arrived(video, youtube)


def test_scope_that_is_missing(google: FakeGoogle, path: Path, user: Any) -> None:
    """Nothing is sent."""
    make_google_account(user, scopes=[CALENDAR])

    with pytest.raises(MissingScopesError):
        list(upload(Video.of(user, path, "Holiday")))


def test_command(google: FakeGoogle, video: Video, youtube: YouTube, path: Path) -> None:
    """It prints where the video is."""
    out = io.StringIO()

    call_command("upload_video", "anna", str(path), stdout=out)

    video.refresh_from_db()
    assert out.getvalue() == f"https://www.youtube.com/watch?v={video.youtube_id}\n"
    assert_arrived(video, youtube)


def test_command_goes_on_where_it_stopped(
    google: FakeGoogle, video: Video, youtube: YouTube, path: Path, monkeypatch: Any
) -> None:
    """After Ctrl-C, or a night without a network."""
    next(upload(video))
    for error in (KeyboardInterrupt, RefreshUnavailableError("unreachable")):
        with monkeypatch.context() as patch:
            patch.setattr(HttpRequest, "next_chunk", raising(error))
            with pytest.raises(CommandError, match="again to continue"):
                call_command("upload_video", "anna", str(path))

    call_command("upload_video", "anna", str(path), stdout=io.StringIO())

    video.refresh_from_db()
    assert_arrived(video, youtube)


def raising(error: Any) -> Any:
    """Return a function that raises."""

    def fail(request: HttpRequest) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("user_name", "file", "problem"),
    [
        ("nobody", "holiday.mp4", "no user"),
        ("anna", "nothing.mp4", "no file"),
        ("anna", "holiday.mp4", "google_link_authorize anna --scopes"),
    ],
)
def test_command_that_cannot_work(
    google: FakeGoogle, path: Path, user: Any, user_name: str, file: str, problem: str
) -> None:
    """It says what to do."""
    with pytest.raises(CommandError, match=problem):
        call_command("upload_video", user_name, str(path.parent / file))


def test_command_on_a_video_that_is_refused(
    google: FakeGoogle, video: Video, youtube: YouTube, path: Path
) -> None:
    """YouTube's own words."""
    google.fail_next(endpoint=PATH, status=403, body={"error": {"message": "quotaExceeded"}})

    with pytest.raises(CommandError, match="quotaExceeded"):
        call_command("upload_video", "anna", str(path))


def test_upload_in_the_background(
    google: FakeGoogle, video: Video, youtube: YouTube, path: Path
) -> None:
    """The copy of the file goes when it has arrived."""
    background.run(video)

    assert_arrived(video, youtube)
    assert not path.exists()


@pytest.mark.parametrize("failure", ["revoked", "refused", "unreachable"])
def test_upload_in_the_background_that_fails(
    google: FakeGoogle,
    alice: FakeUser,
    video: Video,
    path: Path,
    failure: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page says why, and the file is kept for another attempt."""
    if failure == "refused":
        google.fail_next(endpoint=PATH, status=403, body={"error": {"message": "quota"}})
    elif failure == "revoked":
        google.revoke(alice)
    else:
        monkeypatch.setattr(HttpRequest, "next_chunk", raising(OSError))

    background.run(video)

    kept = Video.objects.get()
    assert kept.problem
    assert not kept.is_under_way
    assert path.exists()
