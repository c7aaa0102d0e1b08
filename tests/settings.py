"""The smallest project that the app can live in."""

from __future__ import annotations

import os
from typing import Any

SECRET_KEY = "not a secret: the tests' own"
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]
USE_TZ = os.environ.get("TEST_USE_TZ", "1") == "1"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"
LOGIN_URL = "/login/"
AUTH_USER_MODEL = os.environ.get("TEST_USER_MODEL", "auth.User")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_google_link",
    "tests.custom_user",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
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

if os.environ.get("TEST_DATABASE") == "mysql":
    import pymysql

    pymysql.install_as_MySQLdb()
    DATABASES: dict[str, dict[str, Any]] = {
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "NAME": os.environ.get("MYSQL_DATABASE", "google_link"),
            "USER": os.environ.get("MYSQL_USER", "google_link"),
            "PASSWORD": os.environ.get("MYSQL_PASSWORD", "google_link"),
            "HOST": os.environ.get("MYSQL_HOST", "127.0.0.1"),
            "PORT": os.environ.get("MYSQL_PORT", "3306"),
            "OPTIONS": {"charset": "utf8mb4"},
        }
    }
elif os.environ.get("TEST_DATABASE") == "postgresql":
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ.get("PGDATABASE", "google_link"),
            "USER": os.environ.get("PGUSER", "google_link"),
            "PASSWORD": os.environ.get("PGPASSWORD", "google_link"),
            "HOST": os.environ.get("PGHOST", "127.0.0.1"),
            "PORT": os.environ.get("PGPORT", "5432"),
        }
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": ":memory:",
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    }

if isolation := os.environ.get("TEST_ISOLATION"):
    options = DATABASES["default"].setdefault("OPTIONS", {})
    if os.environ["TEST_DATABASE"] == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        options["isolation_level"] = IsolationLevel[isolation.upper().replace(" ", "_")]
    else:
        options["isolation_level"] = isolation

GOOGLE_LINK = {
    "CLIENTS": {
        "default": {
            "CLIENT_ID": "client.apps.googleusercontent.com",
            "CLIENT_SECRET": "client-secret",
            "SCOPES": ["https://www.googleapis.com/auth/calendar.readonly"],
        }
    },
    "ENCRYPTION_KEYS": ["kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI="],
}
