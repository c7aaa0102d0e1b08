"""Key services, which wrap and unwrap encryption keys with a key that never leaves the service."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from django.utils.module_loading import import_string

from ..conf.settings import KEY_SERVICES, conf
from ..exceptions import SettingsError

#: Part of every context: never change it.
PURPOSE = "django-google-link.encryption-key"

#: For each included key service, the distribution it needs and the extra that installs it.
EXTRAS = {"aws-kms": ("boto3", "aws"), "google-kms": ("google-cloud-kms", "gcp")}


class KeyService:
    """A service that wraps and unwraps encryption keys; subclass it to add your own.

    An instance is created without arguments for each call, in a separate thread. Exceptions of its
    methods are reported as ``KeyServiceError``, without the message of an unknown exception.
    """

    def wrap(self, key: bytes, *, name: str, context: Mapping[str, str]) -> tuple[str, bytes]:
        """Wrap a key.

        Args:
            key: the key, 32 bytes.
            name: the name of the wrapping key in the service.
            context: additional authenticated data, which the service must require again for
                unwrapping: ``site``, ``purpose`` and ``key_id``.

        Returns:
            The name under which to unwrap the key, and the wrapped key.
        """
        raise NotImplementedError

    def unwrap(self, wrapped: bytes, *, name: str, context: Mapping[str, str]) -> bytes:
        """Return the key, if it was wrapped with the named key and in the same context.

        Args:
            wrapped: the wrapped key, as returned by :meth:`wrap`.
            name: the name returned by :meth:`wrap`.
            context: the context given to :meth:`wrap`.
        """
        raise NotImplementedError

    def explain(self, error: Exception) -> tuple[str, str]:
        """Return what went wrong, without secrets, and what to do about it.

        Args:
            error: an exception raised by another method.
        """
        return explain_failure(error)


def explain_failure(error: BaseException) -> tuple[str, str]:
    """Describe an unknown exception by its type, because its message may contain a secret."""
    return (
        f"fails with {type(error).__name__}",
        "Check the configuration of the key service; it is called again at the next use.",
    )


def make_context(site: str, key_id: str) -> dict[str, str]:
    """Return the context that a wrapped key is bound to.

    Args:
        site: the setting ``ENCRYPTION_SITE``.
        key_id: the id of the wrapped key.
    """
    return {"key_id": key_id, "purpose": PURPOSE, "site": site}


def make_key_service(service: str) -> KeyService:
    """Create the key service of this name.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when it does not exist, or its extra is not
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
    """Return the dotted path of the key service of this name.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when it does not exist.
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
    """Return whether the extra of a key service is missing, without importing it.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when the service does not exist.
    """
    # Every process imports this module when it starts, and few need this.
    from importlib.metadata import PackageNotFoundError, version

    if find_key_service(service) != KEY_SERVICES.get(service):
        return False  # A service of the project's own.
    distribution, _extra = EXTRAS[service]
    with suppress(PackageNotFoundError):
        return not version(distribution)
    return True


def make_missing_extra(service: str) -> SettingsError:
    """Return the error that the extra of a key service is not installed."""
    distribution, extra = EXTRAS[service]
    return SettingsError(
        "E071",
        f"The key service {service!r} needs {distribution}, which is not installed.",
        hint=f'Run: python -m pip install "django-google-link[{extra}]".',
    )
