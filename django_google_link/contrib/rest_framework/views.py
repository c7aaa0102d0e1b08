"""The endpoints of ``headless`` as views of Django REST framework.

Authentication, throttling and versioning are the site's. Requests and responses are as documented,
whatever parsers, renderers and exception handler the site has configured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.http import UnreadablePostError
from django.utils.cache import add_never_cache_headers
from django.views.decorators.debug import sensitive_variables
from rest_framework import exceptions, status
from rest_framework.generics import GenericAPIView
from rest_framework.parsers import BaseParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler as default_exception_handler

from ...headless import (
    FrontEndError,
    change_account,
    complete_link,
    list_accounts,
    start_link,
    unlink_account,
)
from ...headless.bodies import LONGEST_BODY, check_content_type, check_length, parse_object
from ...headless.http import outside_transactions, require_proof
from ...headless.openapi import read_openapi
from ...web.access import client_name
from .permissions import get_django_request
from .serializers import (
    AccountSerializer,
    AccountsSerializer,
    CompletionSerializer,
    LinkSerializer,
)

_NO_USER = (exceptions.AuthenticationFailed, exceptions.NotAuthenticated)

# Other packages raise subclasses of these, with error codes of their own.
_WORDS = (
    (_NO_USER, "login_required"),
    (exceptions.ParseError, "invalid_json"),
    (exceptions.UnsupportedMediaType, "unsupported_media_type"),
)


class _ObjectParser(BaseParser):
    """Parses a JSON object of limited length."""

    media_type = "application/json"

    @sensitive_variables()
    def parse(
        self, stream: Any, media_type: str | None = None, context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the object, or raise a ``FrontEndError``."""
        try:
            body = stream.read(LONGEST_BODY + 1)
        except UnreadablePostError:
            raise FrontEndError(400, "invalid_json", "The body could not be read.") from None
        return parse_object(body)


class FrontEndView(GenericAPIView[Any]):
    """The base class of the endpoints.

    Additional arguments in their paths, such as a version, are ignored.
    """

    permission_classes = [IsAuthenticated]
    # As in the root view of DRF's routers: no model permissions can be checked.
    _ignore_model_permissions = True
    parser_classes = [_ObjectParser]
    renderer_classes = [JSONRenderer]
    # The responses are neither querysets nor paginated.
    pagination_class = None
    filter_backends = []

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Return the view, exempt from ``ATOMIC_REQUESTS``."""
        return outside_transactions(super().as_view(**initkwargs))

    def get_permissions(self) -> Sequence[Any]:
        """Return ``IsAuthenticated``, followed by the site's default permissions."""
        site: Sequence[Any] = api_settings.DEFAULT_PERMISSION_CLASSES
        return [*super().get_permissions(), *(permission() for permission in site)]

    def get_exception_handler(self) -> Callable[..., Response | None]:
        """Return the handler for the documented format of errors."""
        return _answer_exception

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Forbid caching."""
        response = super().finalize_response(request, response, *args, **kwargs)
        add_never_cache_headers(response)
        return response

    @sensitive_variables()
    def read_object(self, request: Request) -> dict[str, Any]:
        """Return the JSON object in the body, or raise a ``FrontEndError``."""
        check_content_type(request.content_type or "")
        check_length(request.META.get("CONTENT_LENGTH", ""))
        data = request.data if request.stream else parse_object(b"")
        return dict(data)


class AccountsView(FrontEndView):
    """The user's linked accounts."""

    serializer_class = AccountsSerializer

    def get(self, request: Request, **captured: Any) -> Response:
        """List the accounts, default ones first."""
        return Response(list_accounts(request.user))


class AccountView(FrontEndView):
    """A linked account."""

    serializer_class = AccountSerializer

    def patch(self, request: Request, id: str, **captured: Any) -> Response:
        """Label the account, or make it the default."""
        return Response(change_account(request.user, id, self.read_object(request)))

    def delete(self, request: Request, id: str, **captured: Any) -> Response:
        """Unlink the account, and revoke its grant."""
        require_proof(get_django_request(request))
        unlink_account(request.user, id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class LinksView(FrontEndView):
    """Links that are started."""

    serializer_class = LinkSerializer

    @sensitive_variables()
    def post(self, request: Request, **captured: Any) -> Response:
        """Start a link, and return the data needed to send the user to Google."""
        data, known = self.read_object(request), get_django_request(request)
        require_proof(known)
        client = client_name(known)
        return Response(start_link(request.user, data, host=known.get_host(), client=client))


class CompletionView(FrontEndView):
    """Links that are completed."""

    serializer_class = CompletionSerializer

    @sensitive_variables()
    def post(self, request: Request, **captured: Any) -> Response:
        """Complete a link with the authorization response."""
        data, known = self.read_object(request), get_django_request(request)
        host = known.get_host()
        return Response(complete_link(request.user, data, host=host, request=known))


class OpenAPIView(FrontEndView):
    """The OpenAPI document, which is public."""

    schema = None

    def get_permissions(self) -> Sequence[Any]:
        """Return no permissions."""
        return []

    def get(self, request: Request, **captured: Any) -> Response:
        """Return the OpenAPI document of these endpoints."""
        return Response(read_openapi())


def _answer_exception(exc: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(exc, FrontEndError):
        return Response(exc.content, status=exc.status)
    response = default_exception_handler(exc, context)
    if response is None:
        return None
    # Without an authentication scheme DRF responds with 403, but the documented status is 401.
    if isinstance(exc, _NO_USER):
        response.status_code = status.HTTP_401_UNAUTHORIZED
    detail = _join_details(response.data)
    is_csrf = response.status_code == 403 and detail.startswith("CSRF")
    response.data = {"error": "csrf_failed" if is_csrf else _find_word(exc), "detail": detail}
    return response


def _join_details(data: Any) -> str:
    detail = data.get("detail", data) if isinstance(data, Mapping) else data
    return str(detail)


def _find_word(exc: Exception) -> str:
    known = next((word for kind, word in _WORDS if isinstance(exc, kind)), "")
    return known or str(getattr(exc, "default_code", "")) or "not_found"
