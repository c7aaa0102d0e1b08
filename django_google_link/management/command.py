"""What all commands are: actors in the history of links."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand

from ..accounts.history import acting_as
from ..models import ActorKind


class LinkCommand(BaseCommand):
    """A command whose doings the history of links names."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run in its own name."""
        _, _, name = type(self).__module__.rpartition(".")
        with acting_as(ActorKind.COMMAND, name):
            return super().execute(*args, **options)
