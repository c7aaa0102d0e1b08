"""Settings of the example.

By default, the site uses the fake Google that ``manage.py demo`` runs. With
``GOOGLE_CLIENT_SECRETS_FILE`` and ``GOOGLE_LINK_ENCRYPTION_KEY``, it uses the real one: see the
README.
"""

import os
import secrets
from pathlib import Path

from .keys import encryption_key, kept

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("DEMO_DIR", BASE_DIR / ".demo"))

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or kept(
    DATA_DIR / "secret_key", secrets.token_urlsafe
)
DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

ROOT_URLCONF = "daybook.urls"
WSGI_APPLICATION = "daybook.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
# The site's own pages are in English; those of the app are available in all of these.
LANGUAGES = [
    ("en", "English"),
    ("de", "Deutsch"),
    ("es", "Español"),
    ("fr", "Français"),
    ("ja", "日本語"),
    ("ru", "Русский"),
]
TIME_ZONE = "UTC"

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"

INSTALLED_APPS = [
    "pages",  # before the app, whose base template it replaces
    "videos",
    "django_google_link",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
]

MIDDLEWARE = [
    "corsheaders.middleware.CorsMiddleware",
    "pages.middleware.ContentSecurityPolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# The API of the single-page app, with JWTs and rate limits.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": [
        "rest_framework.throttling.AnonRateThrottle",
        "rest_framework.throttling.UserRateThrottle",
    ],
    "DEFAULT_THROTTLE_RATES": {"anon": "60/min", "user": "300/min"},
    "EXCEPTION_HANDLER": "django_google_link.contrib.rest_framework.exception_handler",
}
CORS_URLS_REGEX = r"^/api/"
# The headers that the web server of the single-page app sends with its pages.
APP_OPENER_POLICIES = {"/": "same-origin-allow-popups"}

EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
MEDIA_ROOT = DATA_DIR / "media"
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "django.request": {"level": "ERROR"},
        # The request line of the callback contains the authorization code.
        "django.server": {"handlers": ["nowhere"], "propagate": False},
    },
}

IS_DEMO = "GOOGLE_CLIENT_SECRETS_FILE" not in os.environ
if not IS_DEMO:
    database = DATA_DIR / "google.sqlite3"
    google_client = {"CLIENT_SECRETS_FILE": os.environ["GOOGLE_CLIENT_SECRETS_FILE"]}
    google_link_key = os.environ.get("GOOGLE_LINK_ENCRYPTION_KEY", "")
    app = os.environ.get("APP_ORIGIN", "http://127.0.0.1:8002")
    service_account = {"FILE": os.environ.get("GOOGLE_SERVICE_ACCOUNT_FILE", "")}
else:
    from demo.client import client_settings

    INSTALLED_APPS.append("demo")
    DEMO_PORT = int(os.environ.get("DEMO_PORT", "8000"))
    DEMO_APP_PORT = int(os.environ.get("DEMO_APP_PORT", "8002"))
    DEMO_GOOGLE_PORT = int(os.environ.get("DEMO_GOOGLE_PORT", "8765"))
    database = DATA_DIR / "demo.sqlite3"
    app = f"http://127.0.0.1:{DEMO_APP_PORT}"
    google = f"http://127.0.0.1:{DEMO_GOOGLE_PORT}"
    google_client = client_settings(google)
    google_link_key = kept(DATA_DIR / "encryption_key", encryption_key)
    # The command demo writes the file.
    service_account = {"FILE": DATA_DIR / "service_account.json", "API_ENDPOINT": google}

CORS_ALLOWED_ORIGINS = [app]
GOOGLE_LINK = {
    "CLIENTS": {
        "default": {
            **google_client,
            "SCOPES": ["https://www.googleapis.com/auth/calendar.readonly"],
            "FRONT_END_REDIRECT_URIS": [f"{app}/linked/"],
        }
    },
    "ENCRYPTION_KEYS": [google_link_key],
}
if Path(service_account["FILE"]).is_file():
    GOOGLE_LINK["SERVICE_ACCOUNTS"] = {"reports": service_account}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": database,
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
}
