"""The compared packages: a fresh, authorized Drive client for a view, from each of them.

Each function takes a user and returns an authorized client; ``*_token`` returns an access token.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.conf import settings
from social_core.backends.google import GoogleOAuth2

DRIVE = "https://www.googleapis.com/auth/drive.file"


class LoopbackGoogle(GoogleOAuth2):
    """social-auth's backend, which uses the fake Google."""

    ACCESS_TOKEN_URL = settings.GOOGLE.get("TOKEN_ENDPOINT", "")
    REFRESH_TOKEN_URL = ACCESS_TOKEN_URL


def ours(user: Any) -> Any:
    """django-google-link, in a view."""
    from django.http import HttpRequest

    request = HttpRequest()
    request.user = user
    return _our_view()(request)


@cache
def _our_view() -> Any:
    from django_google_link.decorators import google_required

    @google_required(scopes=[DRIVE])
    def view(request: Any) -> Any:
        return request.google.service("drive", "v3")

    return view


def floor(user: Any) -> Any:
    """The baseline: one query that uses an index, and a parsed document."""
    from allauth.socialaccount.models import SocialToken
    from googleapiclient.discovery import build_from_document

    token = SocialToken.objects.get(account__user=user)
    return build_from_document(document(), credentials=credentials(token))


@cache
def document() -> Any:
    """The discovery document, parsed once."""
    import json

    from googleapiclient.discovery_cache import get_static_doc

    return json.loads(get_static_doc("drive", "v3"))


def allauth(user: Any) -> Any:
    """django-allauth, with the code that its users have to write."""
    from allauth.socialaccount.models import SocialToken
    from googleapiclient.discovery import build

    token = SocialToken.objects.get(account__user=user, account__provider="google")
    return build("drive", "v3", credentials=credentials(token))


def social_auth(user: Any) -> Any:
    """social-auth, with the code that its users have to write."""
    from google.oauth2.credentials import Credentials
    from googleapiclient.discovery import build

    return build("drive", "v3", credentials=Credentials(social_auth_token(user)))


def our_token(user: Any) -> str:
    """A fresh access token from django-google-link."""
    from django_google_link.services import access_token

    return access_token(user, scopes=[DRIVE])


def allauth_token(user: Any) -> str:
    """A fresh access token for django-allauth's row, as its users obtain and store one."""
    from allauth.socialaccount.models import SocialToken
    from google.auth.transport.requests import Request

    token = SocialToken.objects.get(account__user=user, account__provider="google")
    found = credentials(token)
    if not found.valid:
        found.refresh(Request())
        token.token, token.expires_at = found.token, found.expiry.replace(tzinfo=UTC)
        token.save()
    return str(token.token)


def social_auth_token(user: Any) -> str:
    """A fresh access token from social-auth."""
    from social_django.utils import load_strategy

    return str(user.social_auth.get(provider="google-oauth2").get_access_token(load_strategy()))


def credentials(token: Any) -> Any:
    """google-auth credentials from django-allauth's row."""
    from google.oauth2.credentials import Credentials

    google = settings.GOOGLE
    return Credentials(
        token=token.token,
        refresh_token=token.token_secret,
        token_uri=google["TOKEN_ENDPOINT"],
        client_id=google["CLIENT_ID"],
        client_secret=google["CLIENT_SECRET"],
        expiry=token.expires_at.astimezone(UTC).replace(tzinfo=None),
    )


def link(user: Any, grant: dict[str, Any], expires_at: datetime) -> None:
    """Store the same grant of this user in all three packages."""
    from allauth.socialaccount.models import SocialAccount, SocialToken
    from social_django.models import UserSocialAuth

    from django_google_link.testing import make_google_account

    make_google_account(
        user,
        scopes=[DRIVE],
        access_token_expires_at=expires_at,
        **grant,
    )
    sub, refresh_token = grant["sub"], grant["refresh_token"]
    access_token = grant["access_token"]
    account = SocialAccount.objects.create(user=user, provider="google", uid=sub)
    SocialToken.objects.create(
        account=account, token=access_token, token_secret=refresh_token, expires_at=expires_at
    )
    now = datetime.now(UTC)
    UserSocialAuth.objects.create(
        user=user,
        provider="google-oauth2",
        uid=sub,
        extra_data={
            "access_token": access_token,
            "refresh_token": refresh_token,
            "auth_time": int(now.timestamp()),
            "expires": int((expires_at - now).total_seconds()),
            "token_type": "Bearer",
        },
    )
