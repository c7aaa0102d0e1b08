"""The app of the pages."""

from django.apps import AppConfig


class PagesConfig(AppConfig):
    """Connects the receivers of the app's signals."""

    name = "pages"

    def ready(self) -> None:
        """Import the receivers, which connect themselves."""
        from . import receivers  # noqa: F401
