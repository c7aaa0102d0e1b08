"""The endpoints of ``headless`` as views of Django REST framework.

Authentication, throttling and versioning are the site's. What is taken and given is the contract's,
whatever parsers, renderers and exception handler the site has for its own.
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

# Other packages raise subclasses of them, with words of their own.
_WORDS = (
    (_NO_USER, "login_required"),
    (exceptions.ParseError, "invalid_json"),
    (exceptions.UnsupportedMediaType, "unsupported_media_type"),
)


class _ObjectParser(BaseParser):
    """Reads one JSON object, and no more of it than there may be."""

    media_type = "application/json"

    @sensitive_variables()
    def parse(
        self, stream: Any, media_type: str | None = None, context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the object, or raise a ``FrontEndError``."""
        try:
            body = stream.read(LONGEST_BODY + 1)
        except UnreadablePostError:
            raise FrontEndError(400, "invalid_json", "The body did not arrive.") from None
        return parse_object(body)


class FrontEndView(GenericAPIView[Any]):
    """What the endpoints have in common.

    What else their paths capture is the site's own, such as a version.
    """

    permission_classes = [IsAuthenticated]
    # As the root of DRF's routers says it: there is no model whose permissions could be asked for.
    _ignore_model_permissions = True
    parser_classes = [_ObjectParser]
    renderer_classes = [JSONRenderer]
    # Nothing here is a queryset or a page of one.
    pagination_class = None
    filter_backends = []

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Return the view, around which Django opens no transaction."""
        return outside_transactions(super().as_view(**initkwargs))

    def get_permissions(self) -> Sequence[Any]:
        """Return those of all the site's views, behind that there is a user."""
        site: Sequence[Any] = api_settings.DEFAULT_PERMISSION_CLASSES
        return [*super().get_permissions(), *(permission() for permission in site)]

    def get_exception_handler(self) -> Callable[..., Response | None]:
        """Return the handler that keeps to the one shape of errors."""
        return _answer_exception

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Let no cache keep the answer."""
        response = super().finalize_response(request, response, *args, **kwargs)
        add_never_cache_headers(response)
        return response

    @sensitive_variables()
    def read_object(self, request: Request) -> dict[str, Any]:
        """Return the JSON object that was sent, or raise a ``FrontEndError``."""
        check_content_type(request.content_type or "")
        check_length(request.META.get("CONTENT_LENGTH", ""))
        data = request.data if request.stream else parse_object(b"")
        return dict(data)


class AccountsView(FrontEndView):
    """What the user has linked."""

    serializer_class = AccountsSerializer

    def get(self, request: Request, **captured: Any) -> Response:
        """List the accounts, default ones first."""
        return Response(list_accounts(request.user))


class AccountView(FrontEndView):
    """One linked account."""

    serializer_class = AccountSerializer

    def patch(self, request: Request, id: str, **captured: Any) -> Response:
        """Label it, or make it the default."""
        return Response(change_account(request.user, id, self.read_object(request)))

    def delete(self, request: Request, id: str, **captured: Any) -> Response:
        """Unlink it, and revoke its grant."""
        require_proof(get_django_request(request))
        unlink_account(request.user, id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class LinksView(FrontEndView):
    """A link that begins."""

    serializer_class = LinkSerializer

    @sensitive_variables()
    def post(self, request: Request, **captured: Any) -> Response:
        """Start a link, and say what is needed to send the user to Google."""
        data, known = self.read_object(request), get_django_request(request)
        require_proof(known)
        client = client_name(known)
        return Response(start_link(request.user, data, host=known.get_host(), client=client))


class CompletionView(FrontEndView):
    """A link that comes back."""

    serializer_class = CompletionSerializer

    @sensitive_variables()
    def post(self, request: Request, **captured: Any) -> Response:
        """Complete a link with what came back."""
        data, known = self.read_object(request), get_django_request(request)
        host = known.get_host()
        return Response(complete_link(request.user, data, host=host, request=known))


class OpenAPIView(FrontEndView):
    """The contract, for anybody."""

    schema = None

    def get_permissions(self) -> Sequence[Any]:
        """Return none."""
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
    # Without a scheme of its own DRF says 403, and the contract 401.
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
