"""Where oauth2client's documentation told people to keep credentials."""

from __future__ import annotations

import base64
import pickle
from typing import Any

from django.conf import settings
from django.db import models

from django_google_link.models import GoogleAccount


class CredentialsField(models.Field):
    """oauth2client's own, as far as it matters here: it unpickles whatever it reads."""

    def get_internal_type(self) -> str:
        """Return the kind of column."""
        return "BinaryField"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Do what must not happen."""
        raise AssertionError(f"unpickled: {pickle.loads(base64.b64decode(value))}")


class CredentialsModel(models.Model):  # noqa: DJ008
    """One user's credentials."""

    id = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True)
    credential = CredentialsField(null=True)
    kept = CredentialsField(default=b"")


class LinkOfTheOffice(GoogleAccount):
    """A project's own view of the links."""

    class Meta:
        proxy = True


class OtherCredentials(models.Model):  # noqa: DJ008
    """Credentials beside a number of their own."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True)
    secret = models.TextField(null=True)  # noqa: DJ001
    number = models.IntegerField(null=True)
