"""google-auth's service accounts on our own transport. Imported late, like google-auth."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import google.auth
from django.views.decorators.debug import sensitive_variables
from google.auth.credentials import with_scopes_if_required
from google.auth.exceptions import TransportError
from google.auth.impersonated_credentials import Credentials as ImpersonatedCredentials
from google.oauth2.service_account import Credentials as KeyCredentials

from ..accounts.stored_tokens import AccessToken
from ..conf import clock
from ..conf.clients import to_emulator
from ..conf.service_accounts import ServiceAccountSettings
from ..exceptions import (
    ClientMisconfiguredError,
    RefreshUnavailableError,
    SettingsError,
    TokenEndpointError,
)
from ..oauth import transport
from ..oauth.endpoints import endpoint_error, is_transient
from ..oauth.measurements import judge_error, measured
from ..secret import Secret, cut_frames

logger = logging.getLogger("django_google_link")

_CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_SECRET_PARAMETERS = ("assertion", "client_secret", "refresh_token", "subject_token")


@sensitive_variables()
def request_access_token(
    settings: ServiceAccountSettings, *, subject: str, scopes: Sequence[str]
) -> AccessToken:
    """Request a new access token of a service account from Google.

    Args:
        settings: the settings of the account.
        subject: the e-mail address of the user to act for; empty for the account itself.
        scopes: the scopes of the token.

    Raises:
        ClientMisconfiguredError: when Google refuses the account, or refuses to let it act for the
            user.
        RefreshUnavailableError: when Google cannot be reached.
        SettingsError: (an ``ImproperlyConfigured``) when the settings are invalid.
    """
    over_ours = GoogleAuthTransport(settings.name, settings.api_endpoint)
    try:
        credentials = _make_google_credentials(settings, subject, scopes, over_ours)
        credentials.refresh(over_ours)
        lifetime = credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)
        return AccessToken(
            value=Secret(credentials.token),
            expires_at=clock.now() + lifetime,
            lifetime=lifetime,
            is_new=True,
        )
    except SettingsError:
        raise
    except Exception as error:
        # google-auth raises many kinds of errors for unexpected input. Their frames contain
        # assertions and tokens: they must not reach an error page.
        problem = explain_failure(settings, over_ours, type(error).__name__)
    except BaseException as error:  # Raised in workers that time out.
        raise cut_frames(error) from error.__cause__
    raise problem


@dataclass
class _Response:
    """The response object that google-auth expects of a transport."""

    status: int
    headers: Mapping[str, str]
    data: bytes = field(repr=False)


class GoogleAuthTransport:
    """A google-auth transport on our own, with a time limit and without logging.

    Args:
        name: the name of the service account, for monitoring.
        api_endpoint: the URL that replaces ``https://*.googleapis.com``.
    """

    def __init__(self, name: str, api_endpoint: str | None) -> None:
        self._name = name
        self._api_endpoint = api_endpoint
        self.answer: transport.Answer | None = None
        self.failure: RefreshUnavailableError | None = None
        self.sent: list[Secret] = []

    @sensitive_variables()
    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> _Response:
        url = to_emulator(url, self._api_endpoint)
        self.sent += _find_secrets(body, headers)
        try:
            with measured("service_account", self._name) as measurement:
                answer = transport.request(method, url, body=body, headers=headers, timeout=timeout)
                if answer.status >= 400:
                    measurement.outcome = judge_error(endpoint_error(answer, sent=self.sent))
        except RefreshUnavailableError as error:
            self.failure = error
        else:
            self.answer, self.failure = answer, None
            if not is_transient(answer):
                return _Response(status=answer.status, headers=answer.headers, data=answer.body)
        # Otherwise google-auth would sleep and retry while a user waits.
        raise TransportError("not now")  # type: ignore[no-untyped-call]


def explain_failure(
    settings: ServiceAccountSettings, over_ours: GoogleAuthTransport, kind: str
) -> SettingsError | TokenEndpointError:
    """Return the error for a failure of google-auth. Users cannot solve it, so none is asked to.

    Args:
        settings: the settings of the account.
        over_ours: the transport, with Google's last response, if any.
        kind: the class name of google-auth's error.
    """
    if over_ours.failure:
        return RefreshUnavailableError(over_ours.failure.error, over_ours.failure.error_description)
    if over_ours.answer is None:
        return _make_settings_error(settings, f"has no credentials that can be used here ({kind})")
    error = endpoint_error(over_ours.answer, sent=over_ours.sent)
    if isinstance(error, RefreshUnavailableError):
        return error
    logger.error("Google refuses the service account %s: %s", settings.name, error)
    return ClientMisconfiguredError(error.error, error.error_description, error.status)


@sensitive_variables()
def _make_google_credentials(
    settings: ServiceAccountSettings,
    subject: str,
    scopes: Sequence[str],
    over_ours: GoogleAuthTransport,
) -> Any:
    """Return google-auth's own credentials, which support every way to authenticate."""
    if settings.key:
        return KeyCredentials.from_service_account_info(  # type: ignore[no-untyped-call]
            _reveal_secrets(settings.key), scopes=list(scopes), subject=subject or None
        )
    if settings.impersonate:
        source = _find_default_credentials([_CLOUD_PLATFORM], over_ours)
        return ImpersonatedCredentials(  # type: ignore[no-untyped-call]
            source,
            target_principal=settings.impersonate,
            target_scopes=list(scopes),
            subject=subject or None,
        )
    credentials = _find_default_credentials(scopes, over_ours)
    if not subject:
        return credentials
    if not hasattr(credentials, "with_subject"):
        raise SettingsError(
            "E024",
            f"The service account {settings.name!r} cannot act for a user with the default "
            "credentials of this machine.",
            hint="Set IMPERSONATE to the account instead of DEFAULT_CREDENTIALS, and grant this "
            "machine's identity the role roles/iam.serviceAccountTokenCreator on it; or configure "
            "a key with FILE or INFO.",
        )
    return credentials.with_subject(subject)


def _find_default_credentials(scopes: Sequence[str], over_ours: GoogleAuthTransport) -> Any:
    """Return the application default credentials of this machine, with these scopes.

    The scopes are added afterwards. If google-auth knew them, it would look up the project of a
    federated identity, which takes an additional token and may fail.
    """
    default: Any = google.auth.default
    credentials, _ = default(request=over_ours)
    return with_scopes_if_required(credentials, list(scopes))  # type: ignore[no-untyped-call]


def _reveal_secrets(key: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.reveal() if isinstance(value, Secret) else value for name, value in key.items()
    }


def _make_settings_error(settings: ServiceAccountSettings, what: str) -> SettingsError:
    return SettingsError(
        "E024",
        f"The service account {settings.name!r} {what}.",
        hint="Configure a key with FILE or INFO, or set up default credentials on this "
        "machine: see https://cloud.google.com/docs/authentication/application-default-credentials.",
    )


def _find_secrets(body: bytes | None, headers: Mapping[str, str] | None) -> list[Secret]:
    form = parse_qs((body or b"").decode(errors="replace"))
    texts = [text for name in _SECRET_PARAMETERS for text in form.get(name, [])]
    for name, value in (headers or {}).items():
        if name.lower() == "authorization":
            texts.append(value.rpartition(" ")[2])
    return [Secret(text) for text in texts if text]
