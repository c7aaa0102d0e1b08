"""Those of Django's own settings that this app reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.conf import settings


class DjangoSettings:
    """Django's settings, read on every access as those of ``GOOGLE_LINK`` are."""

    @property
    def auth_user_model(self) -> str:
        """Django's ``AUTH_USER_MODEL``."""
        return settings.AUTH_USER_MODEL

    @property
    def has_urls(self) -> bool:
        """Whether there is a ``ROOT_URLCONF``: a worker may do without."""
        return bool(getattr(settings, "ROOT_URLCONF", None))

    @property
    def middleware(self) -> Sequence[str]:
        """Django's ``MIDDLEWARE``."""
        return settings.MIDDLEWARE

    @property
    def session_cookie_is_strict(self) -> bool:
        """Whether browsers keep Django's session cookie to themselves on the way from Google."""
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
        """Django's ``LANGUAGE_CODE``, the language of whoever has asked for no other."""
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
    def debug(self) -> bool:
        """Django's ``DEBUG``."""
        return settings.DEBUG

    @property
    def tenants_apps(self) -> list[str]:
        """The apps of which each tenant has tables of its own; none, where there are no tenants.

        django-tenants has them in ``TENANT_APPS``, or by types of tenants in ``TENANT_TYPES``;
        django-pgschemas by names of schemas in ``TENANTS``.
        """
        public = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
        apps = list(getattr(settings, "TENANT_APPS", ()))
        for kinds in (getattr(settings, name, None) for name in ("TENANT_TYPES", "TENANTS")):
            # A project may call something else so.
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
