"""Permissions, and an exception handler."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.views import exception_handler as default_exception_handler

from ...conf.settings import conf
from ...exceptions import ConsentRequiredError
from ...request import GoogleAccess
from ...web.access import Requirement, access_for
from ...web.consent import look_again, note_lost, program_content
from ...web.transactions import find_transactions, reading_allowed


class GoogleAuthorizationRequired(APIException):
    """The user has to give consent at Google; ``detail`` says where."""

    status_code = status.HTTP_403_FORBIDDEN
    default_code = "google_authorization_required"


class GoogleRequired(BasePermission):
    """Allows only users who have granted the scopes, and sets ``request.google``.

    Others get a 403 with ``reason``, ``missing_scopes`` and ``authorize_url``. The view may have
    the attributes ``google_scopes``, ``google_optional_scopes``, ``google_client`` and
    ``google_return_url`` and the method ``get_google_account(request)``, which correspond to the
    options of ``google_required``. For function views, a subclass of this class may have them. Put
    ``IsAuthenticated`` before it.
    """

    #: For ``google_link_scopes``, which walks the URLconf.
    reads_google_options = True

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the requirement is met.

        Raises:
            GoogleAuthorizationRequired: if the user is authenticated, but must act first.
        """
        access = _attach_access(request, view, self)
        if access:
            return True
        if access.status != "anonymous":
            raise GoogleAuthorizationRequired(program_content(access))
        return False


class GoogleAware(BasePermission):
    """Allows every user, and sets ``request.google``."""

    #: For ``google_link_scopes``, which walks the URLconf.
    reads_google_options = True

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return ``True``."""
        _attach_access(request, view, self)
        return True


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Respond to a ``ConsentRequiredError`` of a view like :class:`GoogleRequired`.

    For ``REST_FRAMEWORK["EXCEPTION_HANDLER"]``; call it from your own handler, if you have one.
    Other exceptions, and errors that do not concern the user of the request, are passed to DRF's
    handler.
    """
    if not isinstance(exc, ConsentRequiredError):
        return default_exception_handler(exc, context)
    access, transactions = _find_access(context["request"], exc), _find_transactions(context)
    if not transactions:
        note_lost(exc)
    with suppress(ConsentRequiredError), reading_allowed(transactions):
        content = program_content(look_again(exc, access), exc)
        response = default_exception_handler(GoogleAuthorizationRequired(content), context)
        if response and transactions:
            # DRF marks them for rollback, and renders responses after they have ended.
            response.add_post_render_callback(lambda _: note_lost(exc))
        return response
    return default_exception_handler(exc, context)


def _attach_access(request: Request, view: APIView, permission: BasePermission) -> GoogleAccess:
    def read_option(name: str, default: Any = None) -> Any:
        return getattr(view, name, getattr(permission, name, default))

    requirement = Requirement.of(
        scopes=read_option("google_scopes"),
        optional_scopes=read_option("google_optional_scopes", ()),
        client=read_option("google_client"),
        account=read_option("get_google_account"),
        return_url=read_option("google_return_url"),
    )
    access = GoogleAccess(get_django_request(request), requirement)
    setattr(request, conf.request_attribute, access)
    return access


def _find_access(request: Request, error: ConsentRequiredError) -> GoogleAccess:
    attached = getattr(request, conf.request_attribute, None)
    if isinstance(attached, GoogleAccess):
        return attached
    return access_for(get_django_request(request), error)


def _find_transactions(context: dict[str, Any]) -> list[Any]:
    return find_transactions(context["request"]._request)


def get_django_request(request: Request) -> Any:
    """Return Django's request, with the user whom DRF has authenticated."""
    request._request.user = request.user
    return request._request
