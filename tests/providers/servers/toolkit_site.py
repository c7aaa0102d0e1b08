"""A site that is an OAuth 2.0 provider by django-oauth-toolkit, with or without its OpenID part.

Run by the tests as a process of its own: ``toolkit_site.py KIND PORT REDIRECT_URI FOLDER``, where
the kind is ``openid``, ``oauth``, ``fixed`` (refresh tokens are not replaced) or ``tokenless``
(there are none).
"""

from __future__ import annotations

import sys
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from oauthlib.oauth2 import Server

KIND, PORT, REDIRECT_URI, FOLDER = sys.argv[1:]
SECRET = "not-a-secret-but-long-enough-for-anybody"


def make_key() -> str:
    """Return a key to sign ID tokens with."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


class TokenlessServer(Server):
    """Gives access tokens, and nothing to refresh them with."""

    def __init__(self, *args: object, **options: object) -> None:
        """Leave refresh tokens out."""
        super().__init__(*args, **options)
        self.auth_grant.refresh_token = False


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(FOLDER) / "db.sqlite3"}
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "oauth2_provider",
    ],
    LOGIN_URL="/login/",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    OAUTH2_PROVIDER={
        "OIDC_ENABLED": KIND == "openid",
        "OIDC_RSA_PRIVATE_KEY": make_key() if KIND == "openid" else "",
        "ROTATE_REFRESH_TOKEN": KIND != "fixed",
        "SCOPES": {
            "read": "Read your diary",
            "write": "Write your diary",
            "openid": "Know who you are",
        },
        **({"OAUTH2_SERVER_CLASS": f"{__name__}.TokenlessServer"} if KIND == "tokenless" else {}),
    },
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=SECRET,
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "DIRS": [FOLDER],
        }
    ],
)
(Path(FOLDER) / "login.html").write_text(
    '<form method="post">{% csrf_token %}{{ form }}<input type="submit" name="login"></form>'
)
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.contrib.auth.views import LoginView  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from oauth2_provider.decorators import protected_resource  # noqa: E402
from oauth2_provider.models import Application  # noqa: E402


@protected_resource(scopes=["read"])
def me(request: HttpRequest) -> JsonResponse:
    """Say whose the access token is, in members of this site's own."""
    user = request.resource_owner  # type: ignore[attr-defined]
    return JsonResponse({"id": user.pk, "email": user.email, "name": user.first_name})


urlpatterns = [
    path("login/", LoginView.as_view(template_name="login.html")),
    path("me/", me),
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
]


class Handler(WSGIRequestHandler):
    """Answers, and writes nothing."""

    def log_message(self, *args: object) -> None:
        """Write no line for each request."""


call_command("migrate", verbosity=0)
for name in (f"user{number}" for number in range(1, 60)):
    User.objects.create_user(name, f"{name}@example.com", "pw", first_name=name.title())
Application.objects.create(
    client_id="daybook",
    client_secret=SECRET,
    client_type=Application.CLIENT_CONFIDENTIAL,
    authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
    redirect_uris=REDIRECT_URI,
    algorithm=Application.RS256_ALGORITHM if KIND == "openid" else Application.NO_ALGORITHM,
    name="Daybook",
)
with make_server("127.0.0.1", int(PORT), get_wsgi_application(), handler_class=Handler) as server:
    print("ready", flush=True)
    server.serve_forever()
