"""The base class of all commands that act on links."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand

from ..accounts.history import acting_as
from ..models import ActorKind


class LinkCommand(BaseCommand):
    """A command that the history of links names as the actor."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command as the actor."""
        _, _, name = type(self).__module__.rpartition(".")
        with acting_as(ActorKind.COMMAND, name):
            return super().execute(*args, **options)
