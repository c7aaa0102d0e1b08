"""``GoogleRequiredMixin`` and ``GoogleAwareMixin``: the decorators, for class-based views."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest

from .decorators import google_aware, google_required

__all__ = ["GoogleAwareMixin", "GoogleRequiredMixin"]


class _GoogleMixin:
    """Wraps ``dispatch``. The attributes are the options of the decorators."""

    google_scopes: str | Iterable[str] | None = None
    google_optional_scopes: str | Iterable[str] = ()
    google_client: str | None = None
    google_return_url: str | None = None

    def get_google_account(self, request: HttpRequest) -> Any:
        """Return the account to use, its id, or ``None`` for the usual choice."""

    def _decorate_dispatch(self, decorate: Callable[..., Any], dispatch: Callable[..., Any]) -> Any:
        return decorate(
            scopes=self.google_scopes,
            optional_scopes=self.google_optional_scopes,
            client=self.google_client,
            account=self.get_google_account,
            return_url=self.google_return_url,
        )(dispatch)


class GoogleRequiredMixin(_GoogleMixin):
    """Runs the view only for users who have granted the scopes; see ``google_required``.

    Put it first among the bases, behind Django's ``LoginRequiredMixin`` if you use that as well.
    For a type checker, annotate ``request: GoogleRequiredRequest`` in the class.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Run the view, or answer as befits the caller."""
        view: Any = super()
        return self._decorate_dispatch(google_required, view.dispatch)(request, *args, **kwargs)


class GoogleAwareMixin(_GoogleMixin):
    """Runs the view for everybody, with ``request.google``; see ``google_aware``.

    For a type checker, annotate ``request: GoogleAwareRequest`` in the class.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Run the view."""
        view: Any = super()
        return self._decorate_dispatch(google_aware, view.dispatch)(request, *args, **kwargs)
