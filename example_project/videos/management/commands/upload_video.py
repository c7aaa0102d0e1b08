"""``manage.py upload_video anna holiday.mp4``: upload a file to a user's YouTube channel."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError
from googleapiclient.errors import HttpError
from tqdm import tqdm

from django_google_link.exceptions import ConsentRequiredError, RefreshUnavailableError

from ...models import Video
from ...uploads import YOUTUBE_UPLOAD, upload


class Command(BaseCommand):
    help = "Upload a video. Run it again to resume an interrupted upload."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user")
        parser.add_argument("file", type=Path)
        parser.add_argument("--title", help="by default the name of the file")

    def handle(self, *, user: str, file: Path, title: str | None, **options: Any) -> None:
        owner = get_user_model().objects.filter(username=user).first()
        if owner is None:
            raise CommandError(f"There is no user {user!r}.")
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        video = Video.of(owner, file.resolve(), (title or file.stem)[:100])
        try:
            self._upload(video)
        except ConsentRequiredError as error:
            raise CommandError(
                f"{error} On the site, or with: "
                f"manage.py google_link_authorize {user} --scopes {YOUTUBE_UPLOAD}"
            ) from None
        except HttpError as error:
            raise CommandError(f"YouTube has rejected it: {error.reason}") from None
        except (RefreshUnavailableError, OSError) as error:
            raise CommandError(f"{error}. Run it again to continue.") from None
        except KeyboardInterrupt:
            raise CommandError("Stopped. Run it again to continue.", returncode=130) from None
        self.stdout.write(f"https://www.youtube.com/watch?v={video.youtube_id}")

    def _upload(self, video: Video) -> None:
        unit = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
        with tqdm(total=video.size, initial=video.sent, disable=None, **unit) as bar:
            for sent in upload(video):
                bar.update(sent - bar.n)
