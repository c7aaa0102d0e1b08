"""Wrapped encryption keys: their format, and unwrapping them once per process.

The format is ``<key service>:<name of its key>:<key id>:<base64url of the wrapped key>``, such as
``aws-kms:arn:aws:kms:eu-central-1:111122223333:key/…:QGErXm8m:AQICAHg…``.
"""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from django.views.decorators.debug import sensitive_variables

from ..conf.settings import KEY_SERVICE_NAME, SITE_HINT, conf
from ..conf.shared_call import SharedCall
from ..conf.validators import strip_invisible
from ..exceptions import KeyServiceError, SettingsError
from ..secret import Secret
from .format import encode_base64url
from .key_services import (
    KeyService,
    explain_failure,
    find_key_service,
    make_context,
    make_key_service,
)

if TYPE_CHECKING:
    from .key import Key

KEY_BYTES = 32
_WHOLE = re.compile(
    f"(?P<service>{KEY_SERVICE_NAME}):(?P<name>[!-~]+):(?P<key_id>[A-Za-z0-9_-]{{8}})"
    ":(?P<wrapped>[A-Za-z0-9_-]+)"
)


@dataclass(frozen=True, kw_only=True)
class WrappedKey:
    """A wrapped key from the settings, unwrapped when it is first needed."""

    service: str
    #: The name of the wrapping key.
    name: str
    id: str
    site: str
    wrapped: bytes = field(repr=False)

    def load(self) -> Key:
        """Return the key; the service is called once per process.

        Raises:
            KeyServiceError: when it cannot be unwrapped, or a recent attempt failed.
        """
        return _find_call(self).get(limit=conf.http_timeout)


def is_wrapped(text: Secret) -> bool:
    """Return whether this is a wrapped key, complete or not: plain keys contain no colon."""
    return ":" in text.reveal()


@sensitive_variables()
def parse_wrapped_key(text: Secret, *, site: str | None, position: int = 1) -> WrappedKey:
    """Parse a wrapped key.

    Args:
        text: the configured text; surrounding whitespace and a byte order mark are ignored.
        site: the setting ``ENCRYPTION_SITE``.
        position: the position in the list, from 1, for the error message.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when it is malformed, or ``ENCRYPTION_SITE`` or
            the key service is missing.
    """
    parts = _WHOLE.fullmatch(strip_invisible(text.reveal()))
    if not parts or len(parts["wrapped"]) % 4 == 1:  # Not a possible length in base64.
        raise SettingsError(
            "E004",
            f"Encryption key {position} is not a complete wrapped key.",
            hint="Copy all of what manage.py google_link_generate_key --wrap-with printed: "
            "<key service>:<name of its key>:<key id>:<wrapped key>, without spaces or quotes.",
        )
    find_key_service(parts["service"])
    return WrappedKey(
        service=parts["service"],
        name=parts["name"],
        id=parts["key_id"],
        site=require_site(site),
        wrapped=_decode(parts["wrapped"]),
    )


def require_site(site: str | None) -> str:
    """Return the name of this site, to which every wrapped key is bound.

    Args:
        site: the setting ``ENCRYPTION_SITE``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when it is not set.
    """
    if site is None:
        raise SettingsError(
            "E070",
            'GOOGLE_LINK["ENCRYPTION_SITE"] is missing, and each wrapped key is bound to it.',
            hint=SITE_HINT,
        )
    return site


@sensitive_variables()
def wrap_key(key: Secret, *, service: str, name: str, site: str) -> str:
    """Wrap a key, check that it can be unwrapped, and return the text for ``ENCRYPTION_KEYS``.

    Args:
        key: the key in url-safe base64.
        service: the name of a key service.
        name: the name of the wrapping key in the service.
        site: the setting ``ENCRYPTION_SITE``.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when the service does not exist.
        KeyServiceError: when it cannot wrap the key, or unwraps it to another one.
    """
    from .key import Key

    made, bare = make_key_service(service), base64.urlsafe_b64decode(key.reveal())
    key_id = Key(bare).id
    try:
        name, wrapped = made.wrap(bare, name=name, context=make_context(site, key_id))
        text = f"{service}:{name}:{key_id}:{encode_base64url(wrapped)}"
    except Exception as error:
        what, advice = _ask_for_explanation(made, error)
        problem = KeyServiceError(
            "E072",
            f"The key {name!r} of {service} cannot wrap keys: {service} {what}.",
            hint=advice,
        )
    else:
        unwrap_key(parse_wrapped_key(Secret(text), site=site))
        return text
    raise problem


@sensitive_variables()
def unwrap_key(key: WrappedKey) -> Secret:
    """Have the service unwrap a key, without caching; return it in url-safe base64.

    Raises:
        SettingsError: (an ``ImproperlyConfigured``) when the service does not exist.
        KeyServiceError: when the key cannot be unwrapped, or does not match its id.
    """
    from .key import Key

    service = make_key_service(key.service)
    try:
        context = make_context(key.site, key.id)
        bare = service.unwrap(key.wrapped, name=key.name, context=context)
        is_key = isinstance(bare, bytes) and len(bare) == KEY_BYTES and Key(bare).id == key.id
    except Exception as error:
        problem = _make_problem(key, *_ask_for_explanation(service, error))
    else:
        if is_key:
            return Secret(base64.urlsafe_b64encode(bare).decode())
        problem = _make_problem(
            key,
            "returned another key",
            "Copy the wrapped key again, with its id, as manage.py google_link_generate_key "
            "--wrap-with printed it.",
        )
    raise problem


@sensitive_variables()
def _load_key(key: WrappedKey) -> Key:
    from .key import Key

    return Key(base64.urlsafe_b64decode(unwrap_key(key).reveal()))


def _make_problem(key: WrappedKey, what: str, advice: str) -> KeyServiceError:
    return KeyServiceError(
        "E072",
        f"The encryption key {key.id} could not be unwrapped by {key.service}, which {what}.",
        hint=advice,
    )


def _ask_for_explanation(service: KeyService, error: Exception) -> tuple[str, str]:
    with suppress(Exception):
        what, advice = service.explain(error)
        return str(what), str(advice)
    return explain_failure(error)


def _explain_failure(key: WrappedKey, error: BaseException) -> KeyServiceError:
    """Return the error for an exception that the service itself cannot explain."""
    return _make_problem(key, *explain_failure(error))


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _find_call(key: WrappedKey) -> SharedCall[Key]:
    """Return the process's single call that unwraps a key."""
    known = _calls.get(key)
    return known or _calls.setdefault(
        key,
        SharedCall(
            partial(_load_key, key),
            explain=partial(_explain_failure, key),
            subject=f"The key service {key.service}, asked for the encryption key {key.id},",
        ),
    )


#: One entry for each wrapped key that was ever in the settings.
_calls: dict[WrappedKey, SharedCall[Key]] = {}
