"""Google's API for registering a receiver of security events (RISC, version v1beta).

See https://developers.google.com/identity/protocols/risc#register_your_receiver.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.views.decorators.debug import sensitive_variables

from ..conf.clients import to_emulator
from ..conf.service_accounts import ServiceAccount, get_service_account
from ..oauth import transport
from ..oauth.endpoints import endpoint_error
from ..oauth.security_event_token import EventKind
from ..secret import Secret
from .service_account_tokens import service_token

_STREAM = "https://risc.googleapis.com/v1beta/stream"
_SCOPE = "https://www.googleapis.com/auth/risc.configuration.readwrite"
_PUSH = "https://schemas.openid.net/secevent/risc/delivery-method/push"


class SecurityEventStream:
    """The security event stream of a project, configured as one of its service accounts.

    Every method raises ``ClientMisconfiguredError`` when Google refuses the account,
    ``TokenEndpointError`` for any other error response of the API, ``RefreshUnavailableError`` when
    Google cannot be reached, and ``SettingsError`` when the account's settings are invalid.

    Args:
        account: the name of a service account in the settings, with the role
            ``roles/riscconfigs.admin``.
    """

    def __init__(self, account: str) -> None:
        self._account = account

    def read(self) -> Mapping[str, Any]:
        """Return the current registration; empty if there is none."""
        return self._call("GET", _STREAM)

    def is_enabled(self) -> bool:
        """Return whether the stream is enabled."""
        return self._call("GET", f"{_STREAM}/status").get("status") == "enabled"

    def register(self, url: str) -> None:
        """Have all supported events sent to this URL."""
        delivery = {"delivery_method": _PUSH, "url": url}
        content = {"delivery": delivery, "events_requested": list(map(str, EventKind))}
        self._call("POST", f"{_STREAM}:update", content)
        self._set_status("enabled")

    def unregister(self) -> None:
        """Disable the stream."""
        self._set_status("disabled")

    def verify(self, state: str) -> None:
        """Request a verification event with this state."""
        self._call("POST", f"{_STREAM}:verify", {"state": state})

    def _set_status(self, status: str) -> None:
        self._call("POST", f"{_STREAM}/status:update", {"status": status})

    @sensitive_variables()
    def _call(
        self, method: str, url: str, content: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        settings = get_service_account(self._account)
        token = service_token(ServiceAccount(self._account), [_SCOPE]).value
        answer = transport.request(
            method,
            to_emulator(url, settings.api_endpoint),
            body=None if content is None else json.dumps(content).encode(),
            headers=_make_headers(token),
        )
        if answer.status not in {200, 204}:
            raise endpoint_error(answer, sent=[token])
        return answer.document


@sensitive_variables()
def _make_headers(token: Secret) -> dict[str, str]:
    return {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {token.reveal()}",
    }
