"""The models: linked accounts, pending revocations, the history, and state of all workers."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from django.db import models, router, transaction
from django.db.models.functions import Left
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from .conf import clock
from .conf.clients import has_subject, name_provider
from .conf.django import django_conf
from .conf.local_time import LocalTime, to_utc
from .conf.scope_rules import missing_scopes
from .encryption.format import DIGEST_LENGTH, PREFIX_LENGTH, Binding
from .encryption.keyring import digest_token, seal, unseal
from .secret import Secret

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

__all__ = ["GoogleAccount", "HistoryEntry", "PendingRevocation", "SecurityEvent"]

TokenName = Literal["refresh_token", "access_token"]

#: The columns written together with a refresh token.
REFRESH_TOKEN_FIELDS = (
    "sealed_refresh_token",
    "refresh_token_prefix_digest",
    "refresh_token_hash_digest",
)

#: How long before its expiry a time-limited grant is announced to expire.
ENDING_NOTICE = timedelta(days=7)

# Part of every token's binding: never change these.
_PURPOSES: dict[TokenName, str] = {
    "refresh_token": "account.refresh_token",
    "access_token": "account.access_token",
}


class Status(models.TextChoices):
    """Whether the grant is valid at the provider, as far as known."""

    ACTIVE = "active", _("active")
    NEEDS_REAUTHORIZATION = "needs_reauthorization", _("needs to be linked again")


class Reason(models.TextChoices):
    """Why an account needs to be linked again."""

    REVOKED = "revoked", _("revoked or expired at the provider")
    SESSION_POLICY = "session_policy", _("Google Cloud session control")
    UNDECRYPTABLE = "undecryptable", _("the stored token is damaged")
    REQUESTED = "requested", _("requested by an operator")
    RETIRED = "retired", _("granted a scope that is no longer used")
    EXPIRED = "expired", _("time-limited access has expired")
    ACCOUNT_DISABLED = "account_disabled", _("Google has disabled the account")
    ACCOUNT_HIJACKED = "account_hijacked", _("Google has disabled the account: hijacked")
    ACCOUNT_BULK = "account_bulk", _("Google has disabled the account: created in bulk")


#: Reasons under which the state of the grants is unknown until Google enables the account.
ACCOUNT_REASONS = (Reason.ACCOUNT_DISABLED, Reason.ACCOUNT_HIJACKED, Reason.ACCOUNT_BULK)


class RefreshProblem(models.TextChoices):
    """Why the last refresh failed although the grant is not known to be invalid."""

    UNAVAILABLE = "unavailable", _("no usable response from the provider")
    UNREACHABLE = "unreachable", _("the provider could not be reached")
    THROTTLED = "throttled", _("rate limited by the provider")
    REFUSED = "refused", _("refused by the provider")


class HistoryEvent(models.TextChoices):
    """What happened to a link."""

    LINKED = "linked", _("linked")
    SCOPES_CHANGED = "scopes_changed", _("granted scopes changed")
    LOST = "lost", _("lost")
    RECOVERED = "recovered", _("works again")
    CONSENT_REQUESTED = "consent_requested", _("consent requested by an operator")
    RETIRED = "retired", _("retired along with a scope")
    MADE_DEFAULT = "made_default", _("made the default")
    LABELLED = "labelled", _("labelled")
    REASSIGNED = "reassigned", _("moved to another user")
    UNLINKED = "unlinked", _("unlinked")
    REVOKED = "revoked", _("revoked at the provider")
    REVOCATION_ENDED = "revocation_ended", _("revocation given up")
    SECURITY_EVENT = "security_event", _("security event")
    CHECKED = "checked", _("checked at the provider")
    REFRESHED = "refreshed", _("refreshed by an operator")
    REENCRYPTED = "reencrypted", _("encrypted with another key")
    EXPORTED = "exported", _("exported")


class ActorKind(models.TextChoices):
    """The kind of actor that caused an event."""

    USER = "user", _("user")
    STAFF = "staff", _("staff member")
    COMMAND = "command", _("command")
    PROVIDER = "provider", _("provider")
    SITE = "site", _("site code")


class MomentField(models.DateTimeField):  # type: ignore[type-arg]
    """A date and time stored in UTC even if ``USE_TZ`` is false.

    In a local time zone, one hour of each year would be ambiguous.
    """

    def deconstruct(self) -> Any:
        """Return the field as a ``DateTimeField``: for the database there is no difference."""
        name, _, args, options = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, options

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """Convert a naive local time to what the database stores."""
        value = value if prepared else self.get_prep_value(value)
        if isinstance(value, datetime) and not django_conf.use_tz:
            value = to_utc(value)
            # PostgreSQL stores aware times; the other databases take the value as UTC.
            value = value if connection.vendor == "postgresql" else value.replace(tzinfo=None)
        return super().get_db_prep_value(value, connection, prepared=True)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Convert a stored value to local time."""
        if value is None or django_conf.use_tz:
            return value
        is_local = connection.vendor == "postgresql"
        return LocalTime.of(value if is_local else value.replace(tzinfo=UTC))


class GoogleAccountQuerySet(models.QuerySet["GoogleAccount"]):
    def for_user(
        self, user: AbstractBaseUser | AnonymousUser, *, client: str | None = None
    ) -> GoogleAccountQuerySet:
        """Return the accounts that a user has linked, the default one first.

        They are read from the database that is written to: a replica may lack a link that was just
        made.

        Args:
            user: a user of this site.
            client: the OAuth client to restrict the result to.
        """
        owner: Any = user.pk
        is_chosen = self._db is not None  # type: ignore[attr-defined]
        rows = self if is_chosen else self.using(router.db_for_write(self.model))
        accounts = rows.filter(user_id=owner).order_by("-is_default", "linked_at", "pk")
        return accounts if client is None else accounts.filter(client=client)

    #: The primary keys of accounts whose tokens were moved to the outbox during their deletion.
    moved: Collection[uuid.UUID] = ()

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the accounts; ``google_link_revoke_pending`` revokes their grants."""
        from .accounts.deletions import move_queryset

        self._for_write = True
        with transaction.atomic(using=self.db):
            self.moved = move_queryset(self)
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class _OwnerField(models.ForeignKey):  # type: ignore[type-arg]
    """A foreign key whose cascade moves the tokens to the outbox before the rows are deleted."""

    def __init__(self, to: Any, on_delete: Any = None, **options: Any) -> None:
        super().__init__(to, on_delete=_delete_with_user, **options)

    def deconstruct(self) -> Any:
        """Return the field as a ``ForeignKey``: for the database there is no difference."""
        name, _, args, options = super().deconstruct()
        return name, "django.db.models.ForeignKey", args, {**options, "on_delete": models.CASCADE}


def _delete_with_user(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    from .accounts.deletions import delete_with_user

    delete_with_user(collector, field, sub_objs, using)


# delete_with_user reads the rows, with the columns that it needs.
_delete_with_user.lazy_sub_objs = True  # type: ignore[attr-defined]


class SealedTokens(models.Model):
    """A row with tokens sealed for its binding."""

    sealed_refresh_token = models.TextField(blank=True, editable=False)
    sealed_access_token = models.TextField(blank=True, editable=False)

    class Meta:
        abstract = True

    def seal_token(self, name: TokenName, token: Secret) -> None:
        """Seal a token and set its column, without saving."""
        sealed = seal(token, self.binding_of(name))
        if name == "refresh_token":
            self.sealed_refresh_token = sealed
        else:
            self.sealed_access_token = sealed

    def unseal_token(self, name: TokenName) -> Secret | None:
        """Return a token, decrypted; ``None`` if none is stored.

        Raises:
            EncryptionKeyUnavailableError: when its key is not configured.
            TokenUndecryptableError: when it is damaged, or was sealed for another row or owner.
        """
        sealed = self.sealed_token(name)
        return unseal(sealed, self.binding_of(name)) if sealed else None

    def sealed_token(self, name: TokenName) -> str:
        """Return a token as it is stored; empty if there is none."""
        return self.sealed_refresh_token if name == "refresh_token" else self.sealed_access_token

    def binding_of(self, name: TokenName) -> Binding:
        """Return the binding of a token of this row."""
        raise NotImplementedError


class GoogleAccount(SealedTokens):
    """A link between a local user and a Google account, through one OAuth client.

    The stored tokens are sealed, and not meant for direct use: get access tokens from ``services``.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = _OwnerField(
        django_conf.auth_user_model,
        related_name="google_accounts",
        verbose_name=_("user"),
        editable=False,
        db_index=False,  # The constraint below has an index that starts with it.
    )
    client = models.CharField(_("client"), max_length=100, editable=False)
    # The issuer and client of the tokens, which no other can use.
    issuer = models.CharField(_("issuer"), max_length=255, blank=True, editable=False)
    client_id = models.CharField(_("client id"), max_length=255, blank=True, editable=False)
    sub = models.CharField(_("subject"), max_length=255, editable=False)
    email = models.EmailField(_("e-mail address"), blank=True)
    email_verified = models.BooleanField(_("e-mail address verified"), default=False)
    name = models.CharField(_("name"), max_length=200, blank=True)
    picture = models.URLField(_("picture"), max_length=1000, blank=True)
    hosted_domain = models.CharField(_("hosted domain"), max_length=253, blank=True)
    label = models.CharField(
        _("label"),
        max_length=60,
        blank=True,
        help_text=_("Your own name for this account, such as “Work”."),
    )
    is_default = models.BooleanField(_("default"), default=False)
    # Whether the user made it the default, rather than it being the first one linked.
    is_chosen_default = models.BooleanField(_("chosen by its user"), default=False, editable=False)
    granted_scopes = models.JSONField(_("granted scopes"), default=list)
    status = models.CharField(
        _("status"), max_length=30, choices=Status.choices, default=Status.ACTIVE
    )
    status_reason = models.CharField(_("reason"), max_length=30, blank=True)
    status_changed_at = MomentField(_("status changed"), default=timezone.now)

    # Generated by the database, to count tokens by key without reading them.
    sealed_by = models.GeneratedField(
        expression=Left("sealed_refresh_token", PREFIX_LENGTH),
        output_field=models.CharField(max_length=PREFIX_LENGTH),
        db_persist=True,
    )
    # Digests by which security events find the token: see ``encryption.token_digests``. They are
    # written together with the sealed token, and are empty if there is none.
    refresh_token_prefix_digest = models.CharField(
        max_length=DIGEST_LENGTH, blank=True, editable=False
    )
    refresh_token_hash_digest = models.CharField(
        max_length=DIGEST_LENGTH, blank=True, editable=False
    )
    # The scopes that the refresh token is known to cover; scopes granted later may be missing.
    refresh_token_scopes = models.JSONField(default=list, editable=False)
    # Set if the user granted time-limited access.
    refresh_token_expires_at = MomentField(
        _("grant ends"), null=True, blank=True, editable=False, db_index=True
    )
    ending_announced_at = MomentField(null=True, blank=True, editable=False)
    access_token_expires_at = MomentField(null=True, blank=True, editable=False)
    # Set if the provider issues none: the link lasts as long as its access token.
    without_refresh_token = models.BooleanField(default=False, editable=False)
    # Incremented with each new grant, so that a slow refresh of an old one is discarded.
    grant_version = models.PositiveIntegerField(default=1, editable=False)
    refresh_lease = models.UUIDField(null=True, blank=True, editable=False)
    refresh_lease_expires_at = MomentField(null=True, blank=True, editable=False)
    refresh_failures = models.PositiveSmallIntegerField(default=0, editable=False)
    refresh_problem = models.CharField(
        _("problem"), max_length=20, blank=True, choices=RefreshProblem.choices, editable=False
    )
    refresh_error = models.CharField(_("last error"), max_length=100, blank=True, editable=False)
    # By the database's clock, like all times that workers compare.
    refresh_failed_at = MomentField(_("last failure"), null=True, blank=True, editable=False)
    refresh_failing_since = MomentField(
        _("refresh failing since"), null=True, blank=True, editable=False, db_index=True
    )
    refresh_retry_at = MomentField(_("next attempt"), null=True, blank=True, editable=False)
    refresh_forced_at = MomentField(null=True, blank=True, editable=False)
    refreshed_at = MomentField(_("last refresh"), null=True, blank=True, editable=False)
    # Last use by the site's code, to the hour: see ``accounts.usage``.
    last_used_at = MomentField(_("last used"), null=True, blank=True, editable=False)

    linked_at = MomentField(_("linked"), default=timezone.now, editable=False, db_index=True)
    # The time of the last consent: earlier security events concern an older grant.
    granted_at = MomentField(default=timezone.now, editable=False)

    objects = GoogleAccountQuerySet.as_manager()

    #: Whether the tokens are moved to the outbox with those of other accounts of deleted users.
    moves_with_user = False
    #: Set while a grant is stored: whether the link is new, and which scopes were added.
    is_new_link = False
    added_scopes: frozenset[str] = frozenset()

    class Meta:
        verbose_name = _("Google account")
        verbose_name_plural = _("Google accounts")
        constraints = [
            models.UniqueConstraint(
                fields=["user", "client", "sub"], name="google_link_account_unique"
            ),
            models.UniqueConstraint(
                fields=["user", "client"],
                condition=models.Q(is_default=True),
                name="google_link_account_one_default",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=Status.values), name="google_link_account_status"
            ),
            models.CheckConstraint(
                condition=~models.Q(client="") & ~models.Q(sub=""),
                name="google_link_account_identity",
            ),
        ]
        indexes = [
            models.Index(fields=["sub", "issuer"], name="google_link_account_grant"),
            models.Index(
                fields=["status", "status_reason", "linked_at"], name="google_link_account_newest"
            ),
            models.Index(fields=["sealed_by"], name="google_link_account_key"),
            models.Index(fields=["refresh_token_prefix_digest"], name="google_link_account_prefix"),
            models.Index(fields=["refresh_token_hash_digest"], name="google_link_account_hash"),
            # For prefix searches, which PostgreSQL can only answer with these operators.
            models.Index(
                fields=["email"],
                name="google_link_account_email",
                opclasses=["varchar_pattern_ops"],
            ),
            models.Index(
                fields=["client", "status", "status_reason", "sealed_by"],
                name="google_link_account_counts",
            ),
        ]
        permissions = [
            ("check_googleaccount", "Can check a grant with the provider"),
            ("refresh_googleaccount", "Can refresh the access token of a Google account"),
            ("reauthorize_googleaccount", "Can ask a user for consent again"),
            ("reencrypt_googleaccount", "Can re-encrypt the tokens of a Google account"),
        ]

    def __str__(self) -> str:
        return self.email or self.sub

    def __repr__(self) -> str:
        return f"<GoogleAccount {self.pk}>"

    @sensitive_variables()
    def seal_token(self, name: TokenName, token: Secret) -> None:
        """Seal a token and set its column, and a refresh token's digests, without saving."""
        super().seal_token(name, token)
        if name == "refresh_token":
            digests = digest_token(token)
            self.refresh_token_prefix_digest = digests.prefix
            self.refresh_token_hash_digest = digests.double_hash

    def drop_refresh_token(self) -> None:
        """Clear the refresh token and its digests, without saving."""
        for name in REFRESH_TOKEN_FIELDS:
            setattr(self, name, "")

    def drop_tokens(self) -> None:
        """Clear both tokens, without saving."""
        self.drop_refresh_token()
        self.sealed_access_token = ""

    @property
    def display_name(self) -> str:
        """The user's label for this account, or else its name at Google."""
        return self.label or self.name_at_google

    @property
    def full_display_name(self) -> str:
        """The label of this account and its name at Google, as in ``Home (a@example.com)``."""
        return f"{self.label} ({self.name_at_google})" if self.label else self.name_at_google

    @property
    def name_at_google(self) -> str:
        """The account's e-mail address, name or subject identifier at its provider."""
        return self.email or self.name or (self.sub if has_subject(self) else self.provider)

    @property
    def provider(self) -> str:
        """The provider's name for users: ``DISPLAY_NAME`` of the client."""
        return name_provider(self)

    @property
    def is_active(self) -> bool:
        """Whether the grant is valid at the provider, as far as known."""
        if self.status != Status.ACTIVE:
            return False
        return bool(self.sealed_refresh_token) or (
            self.without_refresh_token and self.has_unexpired_access_token()
        )

    @property
    def lost_reason(self) -> str:
        """Why an account that is not active has to be linked again: a ``Reason`` or similar."""
        return self.status_reason or (
            Reason.EXPIRED if self.without_refresh_token else "no_refresh_token"
        )

    @property
    def ends_at(self) -> datetime | None:
        """When a time-limited grant expires, or one that lasts as long as its access token."""
        ends_at: datetime | None = (
            self.access_token_expires_at
            if self.without_refresh_token
            else self.refresh_token_expires_at
        )
        return ends_at if self.is_active else None

    @property
    def ends_soon(self) -> bool:
        """Whether a time-limited grant expires within a week."""
        if self.without_refresh_token or self.ends_at is None:
            return False
        return self.ends_at <= clock.now() + ENDING_NOTICE

    @property
    def has_ended(self) -> bool:
        """Whether a time-limited grant has expired."""
        return self.ends_at is not None and self.ends_at <= clock.now()

    def is_ready(self, *scopes: str) -> bool:
        """Return whether the account is active and has these scopes, as far as known."""
        return self.is_active and not self.missing_scopes(*scopes)

    def missing_scopes(self, *scopes: str) -> frozenset[str]:
        """Return those of the scopes that the user has not granted.

        Aliases count as equal, and a scope that another one implies counts as granted.
        """
        return missing_scopes(scopes, self.granted_scopes)

    def has_unexpired_access_token(self, *, leeway: timedelta = timedelta()) -> bool:
        """Return whether the stored access token is valid for longer than the leeway."""
        return bool(self.sealed_access_token) and is_unexpired(
            self.access_token_expires_at, leeway=leeway
        )

    @property
    def access_token_lifetime(self) -> timedelta | None:
        """The time between issue and expiry of the access token, if both are known."""
        if self.access_token_expires_at is None or self.refreshed_at is None:
            return None
        lifetime: timedelta = self.access_token_expires_at - self.refreshed_at
        return lifetime if lifetime > timedelta() else None

    def unlink(self) -> None:
        """Revoke the grant at Google and delete this link."""
        from .accounts.ownership import unlink

        unlink(self)

    def make_default(self) -> None:
        """Make this the account that is used unless another one is chosen."""
        from .accounts.ownership import make_default

        make_default(self)

    def reassign(self, user: AbstractBaseUser) -> None:
        """Move this link to another user of the site, and reseal its tokens for them."""
        from .accounts.ownership import reassign

        reassign(self, user)

    @property
    def owner(self) -> str:
        """The primary key of the user, as text; part of the tokens' binding."""
        user: Any = self._meta.get_field("user")
        return str(user.target_field.to_python(self.user_id))

    def binding_of(self, name: TokenName) -> Binding:
        """Return the binding of a token of this row."""
        return Binding(
            purpose=_PURPOSES[name],
            row_id=str(self.pk),
            owner=self.owner,
            sub=self.sub,
            issuer=self.issuer,
            client_id=self.client_id,
        )


class PendingRevocation(SealedTokens):
    """The tokens of a deleted link, kept until Google has confirmed the revocation.

    They stay sealed for the account, so that deleting a link requires no decryption and succeeds
    even while a key is missing.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account_id = models.UUIDField(_("account"), editable=False, db_index=True)
    owner = models.CharField(_("user"), max_length=255, editable=False)
    client = models.CharField(_("client"), max_length=100, editable=False)
    issuer = models.CharField(_("issuer"), max_length=255, blank=True, editable=False)
    client_id = models.CharField(_("client id"), max_length=255, blank=True, editable=False)
    # Empty if the grant could not be verified.
    sub = models.CharField(_("subject"), max_length=255, blank=True, editable=False)
    attempts = models.PositiveIntegerField(_("attempts"), default=0, editable=False)
    retry_at = MomentField(_("next attempt"), editable=False)
    # The time of the last refresh: of a grant's tokens, the newest ones stay valid longest.
    refreshed_at = MomentField(null=True, blank=True, editable=False)
    last_error = models.CharField(_("last error"), max_length=300, blank=True, editable=False)
    created_at = MomentField(_("unlinked"), default=timezone.now, editable=False, db_index=True)

    class Meta:
        verbose_name = _("pending revocation")
        verbose_name_plural = _("pending revocations")
        indexes = [
            models.Index(fields=["sub", "issuer"], name="google_link_pending_grant"),
            models.Index(fields=["retry_at"], name="google_link_pending_due"),
        ]
        permissions = [
            ("revoke_pendingrevocation", "Can revoke pending grants at the provider now"),
            ("reencrypt_pendingrevocation", "Can re-encrypt the tokens of a pending revocation"),
        ]

    def __str__(self) -> str:
        return self.sub

    def __repr__(self) -> str:
        return f"<PendingRevocation {self.pk}>"

    @property
    def had_link(self) -> bool:
        """Whether the tokens were a link's, rather than held here until they are stored."""
        return bool(self.account_id != self.pk)

    @property
    def provider(self) -> str:
        """The name, for users, of the provider that issued the tokens."""
        return name_provider(self)

    def binding_of(self, name: TokenName) -> Binding:
        """Return the binding of a token of this row."""
        return Binding(
            purpose=_PURPOSES[name],
            row_id=str(self.account_id),
            owner=self.owner,
            sub=self.sub,
            issuer=self.issuer,
            client_id=self.client_id,
        )


class HistoryEntry(models.Model):
    """An event in the history of a link: written together with its cause, and never changed.

    It outlives the link and the user, and refers to both only by primary key. It contains no token,
    e-mail address, name or label.
    """

    id = models.BigAutoField(primary_key=True)
    account_id = models.UUIDField(_("account"), editable=False)
    owner = models.CharField(_("user"), max_length=255, editable=False)
    client = models.CharField(_("client"), max_length=100, editable=False)
    issuer = models.CharField(_("issuer"), max_length=255, blank=True, editable=False)
    # Empty if the grant could not be verified.
    sub = models.CharField(_("subject"), max_length=255, blank=True, editable=False)
    event = models.CharField(_("event"), max_length=30, editable=False)
    details = models.JSONField(_("details"), default=dict, editable=False)
    actor_kind = models.CharField(_("by"), max_length=10, editable=False)
    # A user's primary key as text, or the name of a command; empty for other actors.
    actor = models.CharField(_("who"), max_length=255, blank=True, editable=False)
    created_at = MomentField(_("when"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("link history entry")
        verbose_name_plural = _("link history")
        # An account's entries are read in the order of their primary keys.
        indexes = [
            models.Index(fields=["account_id", "id"], name="google_link_history_account"),
            models.Index(fields=["owner", "id"], name="google_link_history_owner"),
            models.Index(fields=["sub", "id"], name="google_link_history_sub"),
            models.Index(fields=["event", "id"], name="google_link_history_event"),
            models.Index(fields=["actor_kind", "id"], name="google_link_history_actor"),
            models.Index(fields=["client", "id"], name="google_link_history_client"),
            models.Index(fields=["created_at"], name="google_link_history_when"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id}: {self.event}"

    @property
    def event_label(self) -> str:
        """The label of the event."""
        return str(dict(HistoryEvent.choices).get(self.event, self.event))

    @property
    def actor_label(self) -> str:
        """The label of the actor."""
        kind = dict(ActorKind.choices).get(self.actor_kind, self.actor_kind)
        return " ".join(filter(None, [str(kind), self.actor]))


class CircuitBreaker(models.Model):
    """The circuit breaker of an issuer, shared by all workers.

    The circuit is open while ``opened_at`` is set; ``retry_at`` is then the time of the next probe.
    All times are by the database's clock.
    """

    # A digest of the issuer, since some databases compare text case-insensitively.
    digest = models.CharField(max_length=64, primary_key=True, editable=False)
    issuer = models.CharField(_("issuer"), max_length=255, editable=False)
    failures = models.PositiveIntegerField(_("consecutive failures"), default=0, editable=False)
    # The first account that failed, and whether others did: a single one is not an outage.
    account = models.CharField(max_length=255, blank=True, editable=False)
    has_several_accounts = models.BooleanField(default=False, editable=False)
    # The first process that could not connect; its network may be at fault.
    worker = models.CharField(max_length=100, blank=True, editable=False)
    opened_at = MomentField(_("since"), null=True, blank=True, editable=False)
    retry_at = MomentField(_("next attempt"), null=True, blank=True, editable=False)
    closed_at = MomentField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return self.issuer


class EndedGrant(models.Model):
    """The announcement of a revocation that is in progress or finished a moment ago.

    A worker that links the same account meanwhile has to check whether the new grant is valid: see
    ``accounts.ended_grants``. All times are by the database's clock.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # A digest of the issuer and the ``sub``, since the row outlives the user.
    digest = models.CharField(max_length=64, editable=False)
    begun_at = MomentField(editable=False)
    finished_at = MomentField(null=True, blank=True, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["digest"], name="google_link_ended_digest"),
            models.Index(fields=["begun_at"], name="google_link_ended_begun"),
        ]

    def __str__(self) -> str:
        return self.digest


class SpentState(models.Model):
    """A ``state`` or ticket that has been used: each is valid for one exchange, across all workers.

    It is kept for longer than it would have been valid, with the outcome of the exchange.
    """

    digest = models.CharField(max_length=64, primary_key=True, editable=False)
    owner = models.CharField(max_length=255, editable=False)
    # For tickets: the scopes that the user was asked for through this client and did not grant. For
    # states, the session remembers them.
    client = models.CharField(max_length=100, blank=True, editable=False)
    declined = models.JSONField(default=list, editable=False)
    # Where the exchange led. Until it has finished, a random value: that of the call that spent it.
    location = models.TextField(blank=True, editable=False)
    is_finished = models.BooleanField(default=False, editable=False)
    spent_at = MomentField(default=timezone.now, editable=False, db_index=True)

    class Meta:
        indexes = [models.Index(fields=["owner", "client"], name="google_link_spent_owner")]

    def __str__(self) -> str:
        return self.digest


class SecurityEvent(models.Model):
    """A security event token that was received from Google and accepted."""

    # A digest of the issuer and the ``jti``, to apply each token once.
    digest = models.CharField(max_length=64, primary_key=True, editable=False)
    # The last part of each event's URI.
    types = models.CharField(_("events"), max_length=255, editable=False)
    sub = models.CharField(_("subject"), max_length=255, blank=True, editable=False)
    reason = models.CharField(_("reason"), max_length=100, blank=True, editable=False)
    # The ``state`` of a verification event.
    state = models.CharField(max_length=255, blank=True, editable=False)
    ended = models.PositiveIntegerField(_("links ended"), default=0, editable=False)
    asked = models.PositiveIntegerField(_("links to be checked"), default=0, editable=False)
    issued_at = MomentField(_("issued"), editable=False)
    received_at = MomentField(_("received"), default=timezone.now, editable=False, db_index=True)

    class Meta:
        verbose_name = _("security event")
        verbose_name_plural = _("security events")

    def __str__(self) -> str:
        return self.types


class GrantCheck(models.Model):
    """A requested check of a link's grant, and the time of the last one.

    All times are by the database's clock.
    """

    # Not a foreign key: bulk deletion of users would have to read their links.
    account_id = models.UUIDField(primary_key=True, editable=False)
    # NULL once the check has been made.
    requested_at = MomentField(null=True, blank=True, editable=False, db_index=True)
    asked_at = MomentField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return str(self.account_id)


def is_unexpired(expires_at: datetime | None, *, leeway: timedelta = timedelta()) -> bool:
    """Return whether something is valid for longer than the leeway; without an expiry it is."""
    return expires_at is None or clock.now() + leeway < expires_at
