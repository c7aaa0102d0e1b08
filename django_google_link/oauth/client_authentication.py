"""Client authentication (RFC 6749 section 2.3.1)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import quote_plus

from django.views.decorators.debug import sensitive_variables

from ..conf.clients import OAuthClient
from ..secret import Secret
from .transport import Headers

Form = Mapping[str, "str | Secret"]


@sensitive_variables()
def authenticate(client: OAuthClient, form: Form) -> tuple[Form, Headers]:
    """Return the form and headers of a request, including the client's authentication.

    Args:
        client: the client, with its endpoints known.
        form: the other parameters.
    """
    secret = client.client_secret
    if client.authenticates_by_header:
        # Both are form-encoded first: they may contain a colon, or be invalid in a header.
        pair = f"{quote_plus(client.client_id)}:{quote_plus(secret.reveal())}"
        return form, {"Authorization": Secret(f"Basic {b64encode(pair.encode()).decode()}")}
    return {"client_id": client.client_id, "client_secret": secret, **form}, {}
