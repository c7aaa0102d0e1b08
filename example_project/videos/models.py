"""Videos, and the progress of their uploads."""

from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils import timezone

#: If nothing has arrived for this long, the process that was sending it has stopped.
PATIENCE = timedelta(seconds=60)


class Video(models.Model):
    """A video on its way to the YouTube channel of its user."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="videos")
    title = models.CharField(max_length=100)
    path = models.TextField()
    size = models.PositiveBigIntegerField()
    sent = models.PositiveBigIntegerField(default=0)
    # Where Google accepts the next chunk, from anyone who knows the address: never show it.
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
        """Return the unfinished video with this file, or create one."""
        size = path.stat().st_size
        known = {"user": user, "path": str(path), "size": size, "youtube_id": ""}
        video, _ = cls.objects.get_or_create(**known, defaults={"title": title})
        return video

    @property
    def is_under_way(self) -> bool:
        """Whether a process is sending it."""
        is_fresh = timezone.now() - self.updated_at < PATIENCE
        return is_fresh and not self.youtube_id and not self.problem
