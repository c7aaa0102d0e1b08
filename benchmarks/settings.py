"""Settings of a site with this app and both compared packages."""

from __future__ import annotations

import json
import os
from typing import Any

SECRET_KEY = "not a secret: the benchmarks' own"
USE_TZ = True
ROOT_URLCONF = "benchmarks.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
ALLOWED_HOSTS = ["testserver", "127.0.0.1"]
LOGGING = {"version": 1, "loggers": {"django_google_link": {"level": "ERROR"}}}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_google_link",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.google",
    "social_django",
]

_BARE = os.environ.get("BENCH_BARE")
if _BARE:  # Without the peers, and without us where that is asked.
    names = ("django.contrib", "django_google_link") if _BARE == "with" else ("django.contrib",)
    INSTALLED_APPS = [name for name in INSTALLED_APPS if name.startswith(names)]

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
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

DATABASES: dict[str, dict[str, Any]] = {
    "postgresql": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "google_link"),
        "USER": os.environ.get("PGUSER", "google_link"),
        "PASSWORD": os.environ.get("PGPASSWORD", "google_link"),
        "HOST": os.environ.get("PGHOST", "127.0.0.1"),
        "PORT": os.environ.get("PGPORT", "5432"),
        "TEST": {"NAME": os.environ.get("PGDATABASE", "google_link") + "_bench"},
    },
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("BENCH_SQLITE", ":memory:"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
        "TEST": {"NAME": os.environ.get("BENCH_SQLITE", ":memory:")},
    },
}
DATABASES = {"default": DATABASES[os.environ.get("BENCH_DATABASE", "sqlite")]}
if "BENCH_NAME" in os.environ:  # A worker of a benchmark uses the database that was made for it.
    DATABASES["default"]["NAME"] = os.environ["BENCH_NAME"]

# The settings of the Google process.
GOOGLE: dict[str, str] = json.loads(os.environ.get("BENCH_GOOGLE", "{}"))

GOOGLE_LINK = {
    "CLIENTS": {"default": {**GOOGLE, "SCOPES": ["https://www.googleapis.com/auth/drive.file"]}},
    "ENCRYPTION_KEYS": ["kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI="],
    "HTTP_TIMEOUT": float(os.environ.get("BENCH_HTTP_TIMEOUT", "10")),
}

AUTHENTICATION_BACKENDS = ["benchmarks.peers.LoopbackGoogle"]
SOCIAL_AUTH_GOOGLE_OAUTH2_KEY = GOOGLE.get("CLIENT_ID", "")
SOCIAL_AUTH_GOOGLE_OAUTH2_SECRET = GOOGLE.get("CLIENT_SECRET", "")
