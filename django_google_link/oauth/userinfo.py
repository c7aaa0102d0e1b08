"""Identifies the linked account by the provider's userinfo endpoint, without an ID token."""

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
    """Ask the userinfo endpoint for the account of an access token (RFC 6750 section 2.1).

    Args:
        client: the client, with ``userinfo_endpoint`` and ``subject_member``.
        access_token: the access token that was just issued.

    Raises:
        UserinfoError: if the response does not identify the account.
        RefreshUnavailableError: if the provider cannot be reached.
    """
    client = with_endpoints(client)
    if client.userinfo_endpoint is None:
        raise UserinfoError(
            "The provider's metadata has no userinfo_endpoint: set USERINFO_ENDPOINT."
        )
    bearer = Secret(f"Bearer {access_token.reveal()}")
    with measured("userinfo", client.name):
        answer = fetch(client.userinfo_endpoint, headers={"Authorization": bearer})
        if is_transient(answer):
            raise RefreshUnavailableError("userinfo_unavailable", status=answer.status)
        if answer.status != 200:
            raise UserinfoError(f"The userinfo endpoint responded with HTTP {answer.status}.")
    if not answer.document:
        raise UserinfoError("The response of the userinfo endpoint is not a JSON object.")
    subject = _read_subject(answer.document, client.subject_member)
    try:
        return read_identity({**answer.document, "sub": subject})
    except IDTokenError:
        raise UserinfoError(
            f"The {client.subject_member!r} in the userinfo response is not a valid subject."
        ) from None


def _read_subject(document: Mapping[str, Any], member: str) -> str:
    """Return the subject as a string. The name of a member may itself contain a dot."""
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
        f"The userinfo response has no string or whole number as {member!r}. Set SUBJECT_MEMBER to "
        f"one of {', '.join(map(repr, sorted(document)[:20]))}."
    )
