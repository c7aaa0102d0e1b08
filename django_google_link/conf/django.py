"""The Django settings that this app reads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from django.conf import settings


class DjangoSettings:
    """Django's settings, read on every access, like those of ``GOOGLE_LINK``."""

    @property
    def auth_user_model(self) -> str:
        """Django's ``AUTH_USER_MODEL``."""
        return settings.AUTH_USER_MODEL

    @property
    def has_urls(self) -> bool:
        """Whether there is a ``ROOT_URLCONF``. A worker does not need one."""
        return bool(getattr(settings, "ROOT_URLCONF", None))

    @property
    def middleware(self) -> Sequence[str]:
        """Django's ``MIDDLEWARE``."""
        return settings.MIDDLEWARE

    @property
    def session_cookie_is_strict(self) -> bool:
        """Whether browsers omit the session cookie when Google redirects users back."""
        return str(settings.SESSION_COOKIE_SAMESITE).lower() == "strict"

    @property
    def session_cookie_domain(self) -> str | None:
        """Django's ``SESSION_COOKIE_DOMAIN``."""
        return settings.SESSION_COOKIE_DOMAIN

    @property
    def languages(self) -> Sequence[tuple[str, str]]:
        """Django's ``LANGUAGES``."""
        return settings.LANGUAGES

    @property
    def language_code(self) -> str:
        """Django's ``LANGUAGE_CODE``."""
        return settings.LANGUAGE_CODE

    @property
    def session_cookie_name(self) -> str:
        """Django's ``SESSION_COOKIE_NAME``."""
        return settings.SESSION_COOKIE_NAME

    @property
    def secure_proxy_ssl_header(self) -> tuple[str, str] | None:
        """Django's ``SECURE_PROXY_SSL_HEADER``."""
        return settings.SECURE_PROXY_SSL_HEADER

    @property
    def use_tz(self) -> bool:
        """Django's ``USE_TZ``."""
        return settings.USE_TZ

    @property
    def login_url(self) -> str:
        """Django's ``LOGIN_URL``: a URL, a path or the name of a URL."""
        return str(settings.LOGIN_URL or "")

    @property
    def allowed_hosts(self) -> Sequence[str]:
        """Django's ``ALLOWED_HOSTS``."""
        return settings.ALLOWED_HOSTS

    @property
    def session_cache(self) -> str | None:
        """The alias of the cache that holds the sessions, if they are stored only there."""
        is_cached = settings.SESSION_ENGINE == "django.contrib.sessions.backends.cache"
        return settings.SESSION_CACHE_ALIAS if is_cached else None

    @property
    def public_directories(self) -> list[str]:
        """The directories whose files are served: ``MEDIA_ROOT`` and those of static files."""
        static = [
            item[1] if isinstance(item, tuple) else item for item in settings.STATICFILES_DIRS
        ]
        every = [settings.MEDIA_ROOT, settings.STATIC_ROOT, *static]
        return [os.path.realpath(directory) for directory in every if directory]

    def find_cache_backend(self, alias: str) -> str:
        """Return the dotted path of a cache's class, or an empty string if there is none."""
        return str(settings.CACHES.get(alias, {}).get("BACKEND", ""))

    @property
    def login_redirect_url(self) -> str | None:
        """Django's ``LOGIN_REDIRECT_URL``; ``None`` if it has its default, which few sites use."""
        is_set = settings.is_overridden("LOGIN_REDIRECT_URL")  # type: ignore[misc]
        return str(settings.LOGIN_REDIRECT_URL) if is_set else None

    @property
    def debug(self) -> bool:
        """Django's ``DEBUG``."""
        return settings.DEBUG

    @property
    def tenants_apps(self) -> list[str]:
        """The apps whose tables each tenant has separately; empty without tenants.

        django-tenants lists them in ``TENANT_APPS``, or by tenant type in ``TENANT_TYPES``;
        django-pgschemas lists them by schema in ``TENANTS``.
        """
        public = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
        apps = list(getattr(settings, "TENANT_APPS", ()))
        for kinds in (getattr(settings, name, None) for name in ("TENANT_TYPES", "TENANTS")):
            # A project may use these names for something else.
            for name, kind in kinds.items() if isinstance(kinds, Mapping) else ():
                is_known = name != public and isinstance(kind, Mapping)
                apps += kind.get("APPS", ()) if is_known else ()
        return apps

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """Django's ``SECRET_KEY`` and its fallbacks."""
        keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        return tuple(map(str, keys))


django_conf = DjangoSettings()
