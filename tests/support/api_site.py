"""A site with APIs of its own, with tokens for users, and the endpoints for front ends in them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.urls import include, path
from ninja import NinjaAPI, Router
from ninja.decorators import decorate_view
from ninja.security import HttpBearer, django_auth
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed

from django_google_link.contrib.ninja import (
    add_exception_handler,
    google_aware,
    google_required,
    make_router,
    router,
)
from django_google_link.exceptions import NotLinkedError
from django_google_link.models import GoogleAccount
from django_google_link.services import credentials_for
from tests.support.constants import CALENDAR


def user_of(token: str) -> Any:
    """Return the user whose token this is: it is their name."""
    return get_user_model().objects.filter(username=token.removeprefix("token-")).first()


class TokenAuthentication(BaseAuthentication):
    """Django REST framework's view of it."""

    def authenticate(self, request: Any) -> Any:
        """Return the user, or nothing without a token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            return None
        user = user_of(token)
        if user is None:
            raise AuthenticationFailed
        return user, token

    def authenticate_header(self, request: Any) -> str:
        """Return what to ask for."""
        return "Bearer"


class TokenAuth(HttpBearer):
    """django-ninja's view of it."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Return the user."""
        return user_of(token)


class KeyAuth(HttpBearer):
    """A site whose ``auth`` returns something that is no user."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Return the token."""
        return token if user_of(token) else None


api = NinjaAPI(auth=TokenAuth(), urls_namespace="ninja")
api.add_router("/google", router)
add_exception_handler(api)


@api.get("/agenda")
@google_required(scopes=[CALENDAR])
def agenda(request: HttpRequest) -> Any:
    """Need an account."""
    return {"email": request.google.account.email}  # type: ignore[attr-defined]


@api.get("/async-agenda")
@google_required(scopes=[CALENDAR])
async def async_agenda(request: HttpRequest) -> Any:
    """Need an account."""
    return {"email": request.google.account.email}  # type: ignore[attr-defined]


@api.get("/decorated")
@decorate_view(google_required(scopes=[CALENDAR]))
def decorated(request: HttpRequest) -> Any:
    """Need an account, as a decorated view."""
    return {"email": request.google.account.email}  # type: ignore[attr-defined]


@api.get("/home")
@google_aware
def home(request: HttpRequest) -> Any:
    """Work for everybody."""
    return {"status": request.google.status}  # type: ignore[attr-defined]


@api.get("/task")
def task(request: Any) -> Any:
    """Find out inside that the user has to act."""
    return {"scopes": list(credentials_for(request.auth, scopes=[CALENDAR]).scopes)}


@api.get("/shared/{id}")
def shared(request: Any, id: str) -> Any:
    """Find out inside that another user has to act."""
    return {"account": str(credentials_for(GoogleAccount.objects.get(pk=id)).account_id)}


plain = Router()


@plain.get("/plain")
def raising(request: HttpRequest) -> Any:
    """Raise for nobody in particular."""
    raise NotLinkedError


api.add_router("", plain, auth=None)

open_api = NinjaAPI(urls_namespace="open")
open_api.add_router("/google", make_router())
session_api = NinjaAPI(auth=django_auth, urls_namespace="session")
session_api.add_router("/google", make_router())
key_api = NinjaAPI(auth=KeyAuth(), urls_namespace="key")
key_api.add_router("/google", make_router(get_user=lambda request: user_of(request.auth)))  # type: ignore[attr-defined]
bare_key_api = NinjaAPI(auth=KeyAuth(), urls_namespace="bare-key")
bare_key_api.add_router("/google", make_router())
nobodys_api = NinjaAPI(auth=KeyAuth(), urls_namespace="nobodys")
nobodys_api.add_router("/google", make_router(get_user=lambda request: None))


@nobodys_api.get("/agenda")
@google_required(scopes=[CALENDAR], get_user=lambda request: None)
def nobodys_agenda(request: HttpRequest) -> Any:
    """Need an account of nobody's."""


urlpatterns = [
    path("drf/google/", include("django_google_link.contrib.rest_framework.urls")),
    path("drf/<str:version>/google/", include("django_google_link.contrib.rest_framework.urls")),
    path("ninja/", api.urls),
    path("open/", open_api.urls),
    path("session/", session_api.urls),
    path("key/", key_api.urls),
    path("bare-key/", bare_key_api.urls),
    path("nobodys/", nobodys_api.urls),
    path("", include("tests.urls")),
]
