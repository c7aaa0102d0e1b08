"""The exceptions of this app. All but ``SettingsError`` derive from ``GoogleLinkError``."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Self, cast

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from datetime import datetime

    from .models import GoogleAccount

__all__ = [
    "AccountChoiceRequiredError",
    "AuthorizationDeniedError",
    "ClientMisconfiguredError",
    "ConsentRequiredError",
    "EncryptionKeyUnavailableError",
    "GoogleLinkError",
    "GrantLostError",
    "GrantNotStoredError",
    "HostedDomainError",
    "IDTokenError",
    "KeyServiceError",
    "MissingScopesError",
    "NoRefreshTokenError",
    "NotLinkedError",
    "OtherAccountError",
    "RefreshUnavailableError",
    "SettingsError",
    "StateError",
    "SubjectNotAllowedError",
    "TokenDecryptionError",
    "TokenEndpointError",
    "TokenUndecryptableError",
    "UserinfoError",
]


class GoogleLinkError(Exception):
    """Base class of this app's errors. Never raised directly."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _reduce_error(self, type(self))


def _reduce_error(error: BaseException, cls: type[BaseException]) -> tuple[Any, ...]:
    """Return a value for ``__reduce__`` that keeps all attributes and skips ``__init__``."""
    return (_restore_error, (cls, error.args), error.__dict__)


def _restore_error(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class ConsentRequiredError(GoogleLinkError):
    """The user must act before Google can be called on their behalf.

    Every instance is a ``google.auth.exceptions.RefreshError`` too, so that code written for
    google-auth's own credentials catches it.

    Args:
        message: for the developer; defaults to the class's ``default_message``.
        reason: a machine-readable word, such as ``"not_linked"`` or ``"revoked"``.
        missing_scopes: the scopes that the user has yet to grant.
        account: the ``GoogleAccount`` concerned, if there is one.
        client: the name of the OAuth client concerned, if known.

    ``user_id`` is the primary key of the user who must act, if known. Setting ``account`` sets
    ``client`` and ``user_id`` too.
    """

    default_message = "The user has to give consent."
    default_reason = "consent_required"

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        # google-auth costs a tenth of a second to import, so it becomes a base on the first raise.
        instance: Self = super().__new__(_make_refresh_error(cast("Hashable", cls)))
        return instance

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = "",
        missing_scopes: Iterable[str] = (),
        account: GoogleAccount | None = None,
        client: str = "",
    ) -> None:
        super().__init__(message or self.default_message)
        self.reason = reason or self.default_reason
        self.missing_scopes = frozenset(missing_scopes)
        self.client = client
        self.user_id: Any = None
        self.account = account

    @property
    def account(self) -> GoogleAccount | None:
        """The account concerned. Setting it sets ``client`` and ``user_id`` too."""
        return self._account

    @account.setter
    def account(self, account: GoogleAccount | None) -> None:
        self._account = account
        if account is not None:
            self.client, self.user_id = account.client, account.user_id

    def __reduce__(self) -> tuple[Any, ...]:
        # The public class, not the subclass made by _make_refresh_error().
        return _reduce_error(self, type(self).__bases__[0])


@cache
def _make_refresh_error(cls: Any) -> Any:
    from google.auth import exceptions

    return type(cls.__name__, (cls, exceptions.RefreshError), {"__module__": cls.__module__})


class NotLinkedError(ConsentRequiredError):
    """The user has linked no Google account, or has unlinked it since."""

    default_message = "This user has no linked account."
    default_reason = "not_linked"


class MissingScopesError(ConsentRequiredError):
    """The linked account lacks scopes that this call needs."""

    default_message = "The linked account has not granted all the scopes needed."
    default_reason = "missing_scopes"


class GrantLostError(ConsentRequiredError):
    """The account has to be linked again, usually because Google no longer honours the grant.

    ``reason`` is ``"revoked"`` (it was revoked, or it expired), ``"session_policy"`` (Google
    Cloud session control, for apps with Google Cloud scopes), ``"undecryptable"`` (the stored
    token is damaged), ``"requested"`` (an operator requested consent again), ``"retired"`` (it
    included a scope that is no longer used), ``"account_disabled"``, ``"account_hijacked"`` or
    ``"account_bulk"`` (Google has disabled the account), ``"expired"`` (the provider issues no
    refresh tokens, and the access token has expired) or ``"no_refresh_token"`` (none is stored).
    """

    default_message = "This link no longer works. The user has to link the account again."
    default_reason = "revoked"

    def __init__(self, message: str = "", *, reason: str = "", **more: Any) -> None:
        super().__init__(message or _LOSSES.get(reason, ""), reason=reason, **more)


_LOSSES = {
    "expired": "The access token of this account has expired, and its provider does not issue "
    "refresh tokens. The user has to link the account again."
}


class AccountChoiceRequiredError(ConsentRequiredError):
    """Several of the user's linked accounts match, and none of them is the default."""

    default_message = "Several linked accounts match: the user has to choose one."
    default_reason = "account_choice_required"


class TokenEndpointError(GoogleLinkError):
    """An OAuth endpoint answered with an error (RFC 6749 section 5.2).

    Args:
        error: the error code, such as ``"invalid_grant"``.
        error_description: the provider's text, cut to 200 characters.
        status: the HTTP status, or ``None`` if there was no response.
    """

    def __init__(
        self, error: str = "", error_description: str = "", status: int | None = None
    ) -> None:
        self.error = _flatten_lines(error[:100])
        self.error_description = _flatten_lines(error_description[:200])
        self.status = status
        super().__init__(self.error, self.error_description, status)

    def __str__(self) -> str:
        text = f"{self.error}: {self.error_description}" if self.error_description else self.error
        return f"{text} (HTTP {self.status})" if self.status else text


def _flatten_lines(text: str) -> str:
    """Replace line breaks and control characters, so that the text cannot forge log lines."""
    return "".join(character if character.isprintable() else " " for character in text)


class ClientMisconfiguredError(TokenEndpointError):
    """Google rejected the OAuth client, not the user's grant. Linked accounts are not changed."""

    @property
    def is_policy(self) -> bool:
        """Whether a Google Workspace organization's policy blocks the client for its accounts."""
        return self.error in {"admin_policy_enforced", "org_internal"}


class RefreshUnavailableError(TokenEndpointError):
    """Google could not be reached, or gave no usable response: try again later.

    Args:
        error, error_description, status: as for :class:`TokenEndpointError`.
        retry_at: the earliest time for another attempt, if known, by this process's clock; aware
            if ``USE_TZ`` is true.
    """

    def __init__(
        self,
        error: str = "",
        error_description: str = "",
        status: int | None = None,
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(error, error_description, status)
        self.retry_at = retry_at

    def __str__(self) -> str:
        return f"No usable response at present ({super().__str__()})"


class SubjectNotAllowedError(GoogleLinkError):
    """``SUBJECTS`` of the service account does not include the user to impersonate.

    Args:
        name: the name of the service account.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The service account {name!r} may not impersonate this user. To allow it, add the "
            "address to its SUBJECTS."
        )
        self.name = name


class StateError(GoogleLinkError):
    """The ``state`` or the ticket is unknown, already used, expired or another user's.

    Args:
        message: for the log.
        reason: a machine-readable word, such as ``"ticket_expired"``, if there is one.
    """

    def __init__(self, message: str = "", *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class AuthorizationDeniedError(GoogleLinkError):
    """Google redirected the user back with an error instead of a code (RFC 6749 section 4.1.2.1).

    Args:
        error: the error code, such as ``"access_denied"``.
    """

    def __init__(self, error: str) -> None:
        self.error = _flatten_lines(error[:100])
        super().__init__(f"The authorization was refused: {self.error}.")

    @property
    def is_users(self) -> bool:
        """Whether the user denied access; other errors lie between this site and Google."""
        return self.error == "access_denied"


class OtherAccountError(GoogleLinkError):
    """The user chose a different account from the one to be linked again.

    Args:
        sub: the ``sub`` claim of the account that was chosen.
        name: the name or e-mail address of the account that was chosen.
        account: the ``GoogleAccount`` that was expected, if it is still linked.
        client: the name of the OAuth client.
    """

    def __init__(self, *, sub: str, name: str, account: GoogleAccount | None, client: str) -> None:
        super().__init__("The user chose a different account from the one expected.")
        self.sub = sub
        self.name = name
        self.account = account
        self.client = client

    @property
    def has_same_name(self) -> bool:
        """Whether both accounts show the same address, because it was assigned to a new account."""
        return self.account is not None and self.account.name_at_google == self.name


class NoRefreshTokenError(GoogleLinkError):
    """The provider sent no refresh token, even with ``prompt=consent``.

    Args:
        message: for the developer.
    """

    def __init__(self, message: str = "The provider sent no refresh token.") -> None:
        super().__init__(message)


class GrantNotStoredError(GoogleLinkError):
    """The grant could not be stored, and was revoked at Google. The log says why.

    If the database was lost before it confirmed the commit, the grant may have been stored, and is
    not revoked; if it was not stored, ``google_link_revoke_pending`` revokes it.

    Args:
        user_is_gone: whether the reason is that the user was deleted in the meantime.
    """

    def __init__(self, *, user_is_gone: bool = False) -> None:
        super().__init__("The grant could not be stored.")
        self.user_is_gone = user_is_gone


class IDTokenError(GoogleLinkError):
    """The ID token failed validation (OpenID Connect Core section 3.1.3.7)."""


class UserinfoError(GoogleLinkError):
    """The response of the provider's userinfo endpoint does not identify the account."""


class HostedDomainError(IDTokenError):
    """The account does not belong to a Google Workspace domain listed in ``HOSTED_DOMAIN``.

    Args:
        hosted_domains: the domains that are accepted, such as ``("example.com",)``; ``("*",)``
            accepts any Google Workspace domain.
    """

    def __init__(self, hosted_domains: tuple[str, ...]) -> None:
        names = "a Google Workspace" if hosted_domains == ("*",) else " or ".join(hosted_domains)
        super().__init__(f"Only accounts of {names} can be linked here.")
        self.hosted_domains = hosted_domains


class TokenDecryptionError(GoogleLinkError):
    """Base class of the errors raised when a stored token cannot be decrypted."""


class EncryptionKeyUnavailableError(TokenDecryptionError):
    """The key that encrypted this token is not configured. The stored token is not damaged."""


class TokenUndecryptableError(TokenDecryptionError, ConsentRequiredError):
    """The key is configured, but the stored token is damaged. The user has to link again."""

    default_message = (
        "The stored token cannot be decrypted. The user has to link the account again."
    )
    default_reason = "undecryptable"


class SettingsError(ImproperlyConfigured):
    """A setting is missing or invalid.

    Raised when the setting is read, and reported with the same text by ``manage.py check``.

    Args:
        id: the number of the system check, such as ``"E001"``.
        message: what is wrong.
        hint: what to do about it.
    """

    def __init__(self, id: str, message: str, *, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.id = id
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        return _reduce_error(self, type(self))


class KeyServiceError(EncryptionKeyUnavailableError, SettingsError):
    """The key service cannot be reached, or refuses to unwrap the encryption key.

    No row is changed. This process tries again after five seconds at the earliest.
    """
