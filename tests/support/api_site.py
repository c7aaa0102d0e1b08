"""A site with APIs of its own, token authentication, and the front-end endpoints."""

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
    """Return the user of a token, which is the username."""
    return get_user_model().objects.filter(username=token.removeprefix("token-")).first()


class TokenAuthentication(BaseAuthentication):
    """Token authentication for Django REST framework."""

    def authenticate(self, request: Any) -> Any:
        """Return the user; ``None`` without a token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            return None
        user = user_of(token)
        if user is None:
            raise AuthenticationFailed
        return user, token

    def authenticate_header(self, request: Any) -> str:
        """Return the ``WWW-Authenticate`` challenge."""
        return "Bearer"


class TokenAuth(HttpBearer):
    """Token authentication for django-ninja."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Return the user."""
        return user_of(token)


class KeyAuth(HttpBearer):
    """Authentication that returns something other than a user."""

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
    """Work for all users."""
    return {"status": request.google.status}  # type: ignore[attr-defined]


@api.get("/task")
def task(request: Any) -> Any:
    """Discover inside the view that the user must act."""
    return {"scopes": list(credentials_for(request.auth, scopes=[CALENDAR]).scopes)}


@api.get("/shared/{id}")
def shared(request: Any, id: str) -> Any:
    """Discover inside the view that another user must act."""
    return {"account": str(credentials_for(GoogleAccount.objects.get(pk=id)).account_id)}


plain = Router()


@plain.get("/plain")
def raising(request: HttpRequest) -> Any:
    """Raise an error that names no user."""
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
    """Need an account of an anonymous user."""


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
