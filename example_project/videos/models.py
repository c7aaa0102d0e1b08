"""Videos, and how far they have come."""

from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils import timezone

#: Nothing has arrived for so long: whatever sent it is gone.
PATIENCE = timedelta(seconds=60)


class Video(models.Model):
    """A video on its way to the YouTube channel of its user."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="videos")
    title = models.CharField(max_length=100)
    path = models.TextField()
    size = models.PositiveBigIntegerField()
    sent = models.PositiveBigIntegerField(default=0)
    # Where Google takes the next chunk. Whoever knows it may send one: it belongs on no page.
    session_uri = models.TextField(blank=True)
    youtube_id = models.CharField(max_length=50, blank=True)
    problem = models.CharField(max_length=200, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.title

    @classmethod
    def of(cls, user: models.Model, path: Path, title: str) -> "Video":
        """Return the video in this file that is on its way, or a new one."""
        size = path.stat().st_size
        known = {"user": user, "path": str(path), "size": size, "youtube_id": ""}
        video, _ = cls.objects.get_or_create(**known, defaults={"title": title})
        return video

    @property
    def is_under_way(self) -> bool:
        """Whether something is sending it."""
        is_fresh = timezone.now() - self.updated_at < PATIENCE
        return is_fresh and not self.youtube_id and not self.problem
