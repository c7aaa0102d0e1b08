"""A user model with a UUID key, for the runs with ``TEST_USER_MODEL=custom_user.User``."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    groups = models.ManyToManyField("auth.Group", related_name="+")  # type: ignore[assignment]
    user_permissions = models.ManyToManyField("auth.Permission", related_name="+")  # type: ignore[assignment]
