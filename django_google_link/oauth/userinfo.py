"""Who the linked account is, where no ID token says it: the provider's userinfo endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient
from ..exceptions import IDTokenError, RefreshUnavailableError, UserinfoError
from ..secret import Secret
from .endpoints import is_transient
from .id_token import Identity, read_identity
from .measurements import measured
from .metadata import with_endpoints
from .transport import fetch


@sensitive_variables()
def fetch_identity(client: OAuthClient, access_token: Secret) -> Identity:
    """Ask a provider whose access token it is (RFC 6750 section 2.1).

    Args:
        client: whose ``userinfo_endpoint`` is asked, and whose ``subject_member`` is the subject.
        access_token: has just come from the token endpoint.

    Raises:
        UserinfoError: when the answer does not say it.
        RefreshUnavailableError: when the provider cannot be reached.
    """
    client = with_endpoints(client)
    if client.userinfo_endpoint is None:
        raise UserinfoError("The provider publishes no userinfo endpoint: give USERINFO_ENDPOINT.")
    bearer = Secret(f"Bearer {access_token.reveal()}")
    with measured("userinfo", client.name):
        answer = fetch(client.userinfo_endpoint, headers={"Authorization": bearer})
        if is_transient(answer):
            raise RefreshUnavailableError("userinfo_unavailable", status=answer.status)
        if answer.status != 200:
            raise UserinfoError(f"The userinfo endpoint answers with HTTP {answer.status}.")
    if not answer.document:
        raise UserinfoError("The userinfo endpoint answers with something else than JSON members.")
    subject = _read_subject(answer.document, client.subject_member)
    try:
        return read_identity({**answer.document, "sub": subject})
    except IDTokenError:
        raise UserinfoError(
            f"The userinfo answer has no usable subject as its {client.subject_member!r}."
        ) from None


def _read_subject(document: Mapping[str, Any], member: str) -> str:
    """Return the subject as text. A member may have a point in its own name."""
    value = document.get(member)
    if value is None:
        value = document
        for name in member.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value
    raise UserinfoError(
        f"The userinfo answer has no text and no whole number as its {member!r}: SUBJECT_MEMBER "
        f"may be another of {', '.join(map(repr, sorted(document)[:20]))}."
    )
