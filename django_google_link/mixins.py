"""``GoogleRequiredMixin`` and ``GoogleAwareMixin``: the decorators, for class-based views."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest

from .decorators import wrap_view
from .web.access import Requirement
from .web.view_options import require_sound_class

__all__ = ["GoogleAwareMixin", "GoogleRequiredMixin"]


class _GoogleMixin:
    """Wraps ``dispatch()``. The attributes correspond to the options of the decorators."""

    google_scopes: str | Iterable[str] | None = None
    google_optional_scopes: str | Iterable[str] = ()
    google_client: str | None = None
    google_return_url: str | None = None

    #: For ``google_link_scopes``, which walks the URLconf.
    reads_google_options = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raise for invalid options as soon as the class is defined."""
        super().__init_subclass__(**kwargs)
        require_sound_class(cls, mixins=_GoogleMixin.__subclasses__())

    def get_google_account(self, request: HttpRequest) -> Any:
        """Return the account to use, its id, or ``None`` for the default choice."""

    def _wrap_dispatch(self, dispatch: Callable[..., Any], *, required: bool) -> Any:
        requirement = Requirement.of(
            scopes=self.google_scopes,
            optional_scopes=self.google_optional_scopes,
            client=self.google_client,
            account=self.get_google_account,
            return_url=self.google_return_url,
        )
        return wrap_view(dispatch, requirement, required=required)


class GoogleRequiredMixin(_GoogleMixin):
    """Runs the view only for users who have granted the scopes; see ``google_required``.

    Put it first among the base classes, but after Django's ``LoginRequiredMixin`` if you use it.
    For a type checker, annotate ``request: GoogleRequiredRequest`` in the class.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Run the view, or return a response that asks for consent."""
        view: Any = super()
        return self._wrap_dispatch(view.dispatch, required=True)(request, *args, **kwargs)


class GoogleAwareMixin(_GoogleMixin):
    """Runs the view for every user, with ``request.google``; see ``google_aware``.

    For a type checker, annotate ``request: GoogleAwareRequest`` in the class.
    """

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Run the view."""
        view: Any = super()
        return self._wrap_dispatch(view.dispatch, required=False)(request, *args, **kwargs)
