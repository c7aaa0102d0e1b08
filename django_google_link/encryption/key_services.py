"""Key services: they wrap encryption keys with a key that never leaves them, and unwrap them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from django.utils.module_loading import import_string

from ..conf.settings import KEY_SERVICES, conf
from ..exceptions import SettingsError

#: Part of every context: never change it.
PURPOSE = "django-google-link.encryption-key"

#: The distribution that each of those that are there needs, and the extra that brings it.
EXTRAS = {"aws-kms": ("boto3", "aws"), "google-kms": ("google-cloud-kms", "gcp")}


class KeyService:
    """What unwraps encryption keys; subclass it for a service of your own.

    One is made without arguments for each call, in a thread of its own. Whatever its methods raise
    is told as a ``KeyServiceError``, of which the text of an unknown error is no part.
    """

    def wrap(self, key: bytes, *, name: str, context: Mapping[str, str]) -> tuple[str, bytes]:
        """Wrap a key.

        Args:
            key: 32 bytes.
            name: of the key with which the service is to wrap it.
            context: that the service is to demand again: ``site``, ``purpose`` and ``key_id``.

        Returns:
            The name under which it is to be unwrapped, and what was made of the key.
        """
        raise NotImplementedError

    def unwrap(self, wrapped: bytes, *, name: str, context: Mapping[str, str]) -> bytes:
        """Return the key, if it was wrapped with the named key and in the same context.

        Args:
            wrapped: what :meth:`wrap` has returned.
            name: as :meth:`wrap` has returned it.
            context: as it was when the key was wrapped.
        """
        raise NotImplementedError

    def explain(self, error: Exception) -> tuple[str, str]:
        """Return what went wrong, in words that hold no secret, and what to do about it.

        Args:
            error: what another method has raised.
        """
        return explain_failure(error)


def explain_failure(error: BaseException) -> tuple[str, str]:
    """Return of an error its kind, and not what it says: that may be a secret."""
    return (
        f"fails with {type(error).__name__}",
        "See what it needs; it is asked again at the next use.",
    )


def make_context(site: str, key_id: str) -> dict[str, str]:
    """Return what a wrapped key is bound to.

    Args:
        site: the setting ``ENCRYPTION_SITE``.
        key_id: of the key that is wrapped.
    """
    return {"key_id": key_id, "purpose": PURPOSE, "site": site}


def make_key_service(service: str) -> KeyService:
    """Return the key service of that name.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when there is none, or its extra is not
            installed.
    """
    path = find_key_service(service)
    try:
        kind = import_string(path)
        made: KeyService = kind()
    except ImportError:
        problem = _explain_import_error(service, path)
    except Exception as error:
        what, advice = explain_failure(error)
        problem = SettingsError("E071", f"The key service {service!r} {what}.", hint=advice)
    else:
        return made
    raise problem


def find_key_service(service: str) -> str:
    """Return the dotted path of the key service of that name.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when there is none.
    """
    services = conf.key_services
    if service in services:
        return services[service]
    raise SettingsError(
        "E071",
        f"There is no key service {service!r}.",
        hint=f'Use one of {", ".join(sorted(services))}, or add it to GOOGLE_LINK["KEY_SERVICES"].',
    )


def _explain_import_error(service: str, path: str) -> SettingsError:
    if lacks_extra(service):
        return make_missing_extra(service)
    return SettingsError(
        "E071",
        f"The key service {service!r} cannot be imported from {path}.",
        hint='Correct its dotted path in GOOGLE_LINK["KEY_SERVICES"], or install what it needs.',
    )


def lacks_extra(service: str) -> bool:
    """Return whether the extra of a key service is not installed; nothing of it is imported.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when there is no such service.
    """
    if find_key_service(service) != KEY_SERVICES.get(service):
        return False  # It is the project's own.
    distribution, _extra = EXTRAS[service]
    with suppress(PackageNotFoundError):
        return not version(distribution)
    return True


def make_missing_extra(service: str) -> SettingsError:
    """Return that the extra of a key service is not installed."""
    distribution, extra = EXTRAS[service]
    return SettingsError(
        "E071",
        f"The key service {service!r} needs {distribution}, which is not installed.",
        hint=f'Type: python -m pip install "django-google-link[{extra}]".',
    )
