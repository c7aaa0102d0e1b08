"""Canaille, an OpenID provider on Authlib: ``canaille_site.py PORT REDIRECT_URI FOLDER``.

Its client authenticates by HTTP Basic alone, and its ID tokens name their audience as a list.
"""

from __future__ import annotations

import sys
import warnings
from wsgiref.simple_server import WSGIRequestHandler, make_server

warnings.simplefilter("ignore")

from canaille import create_app  # noqa: E402
from canaille.app import models  # noqa: E402
from canaille.backends import Backend  # noqa: E402

PORT, REDIRECT_URI, FOLDER = sys.argv[1:]
SECRET = "not-a-secret-but-long-enough-for-anybody"

app = create_app(
    {
        "SECRET_KEY": SECRET,
        "SERVER_NAME": f"127.0.0.1:{PORT}",
        "PREFERRED_URL_SCHEME": "http",
        "TRUSTED_HOSTS": ["127.0.0.1"],
        "CANAILLE_SQL": {
            "DATABASE_URI": f"sqlite:///{FOLDER}/canaille.sqlite",
            "PASSWORD_SCHEMES": "plaintext",
        },
        "CANAILLE": {"DATABASE": "sql", "ENABLE_REGISTRATION": False, "CAPTCHA_ENABLED": False},
        "CANAILLE_OIDC": {"TRUSTED_DOMAINS": []},
    }
)


class Handler(WSGIRequestHandler):
    """Answers, and writes nothing."""

    def log_message(self, *args: object) -> None:
        """Write no line for each request."""


with app.app_context():
    for name in (f"user{number}" for number in range(1, 60)):
        user = models.User(
            user_name=name,
            given_name=name.title(),
            family_name="Example",
            formatted_name=f"{name.title()} Example",
            emails=[f"{name}@example.com"],
            password="a long enough password",
        )
        Backend.instance.save(user)
    client = models.Client(
        client_id="daybook",
        client_secret=SECRET,
        client_name="Daybook",
        redirect_uris=[REDIRECT_URI],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        scope=["openid", "email", "profile"],
        token_endpoint_auth_method="client_secret_basic",
    )
    Backend.instance.save(client)
    client.audience = [client]
    Backend.instance.save(client)

with make_server("127.0.0.1", int(PORT), app, handler_class=Handler) as server:
    print("ready", flush=True)
    server.serve_forever()
