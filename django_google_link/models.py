"""The linked accounts, and what a row may answer about itself."""

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

#: What is written whenever a refresh token of an account is.
REFRESH_TOKEN_FIELDS = (
    "sealed_refresh_token",
    "refresh_token_prefix_digest",
    "refresh_token_hash_digest",
)

#: For so long before the end of a grant it is said that it ends.
ENDING_NOTICE = timedelta(days=7)

# Part of every ciphertext: never change these, whatever is renamed.
_PURPOSES: dict[TokenName, str] = {
    "refresh_token": "account.refresh_token",
    "access_token": "account.access_token",
}


class Status(models.TextChoices):
    """Whether Google still honours the grant, as far as we know."""

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


#: While Google has an account disabled, nobody knows what becomes of its grants.
ACCOUNT_REASONS = (Reason.ACCOUNT_DISABLED, Reason.ACCOUNT_HIJACKED, Reason.ACCOUNT_BULK)


class RefreshProblem(models.TextChoices):
    """Why the last refresh has failed, while nothing is wrong with the grant as far as we know."""

    UNAVAILABLE = "unavailable", _("no usable response from the provider")
    UNREACHABLE = "unreachable", _("the provider could not be reached")
    THROTTLED = "throttled", _("rate limited by the provider")
    REFUSED = "refused", _("refused by the provider")


class HistoryEvent(models.TextChoices):
    """What has happened to a link, or was done about it."""

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
    """Who has done it."""

    USER = "user", _("user")
    STAFF = "staff", _("staff member")
    COMMAND = "command", _("command")
    PROVIDER = "provider", _("provider")
    SITE = "site", _("site code")


class MomentField(models.DateTimeField):  # type: ignore[type-arg]
    """A moment, which the database has in UTC even where ``USE_TZ`` is off.

    In the site's time zone one hour of each year has the names of another.
    """

    def deconstruct(self) -> Any:
        """Return what a migration needs to know: to the database it is like any other."""
        name, _, args, options = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, options

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """Turn a naive time of the site's into what the database is to have."""
        value = value if prepared else self.get_prep_value(value)
        if isinstance(value, datetime) and not django_conf.use_tz:
            value = to_utc(value)
            # PostgreSQL has time zones of its own; the others take UTC for what they are told.
            value = value if connection.vendor == "postgresql" else value.replace(tzinfo=None)
        return super().get_db_prep_value(value, connection, prepared=True)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Turn what the database has into a time of the site's."""
        if value is None or django_conf.use_tz:
            return value
        is_local = connection.vendor == "postgresql"
        return LocalTime.of(value if is_local else value.replace(tzinfo=UTC))


class GoogleAccountQuerySet(models.QuerySet["GoogleAccount"]):
    def for_user(
        self, user: AbstractBaseUser | AnonymousUser, *, client: str | None = None
    ) -> GoogleAccountQuerySet:
        """Return the accounts that this user has linked, the default one first.

        They are read where they are written: a replica may not have a link that was just made.

        Args:
            user: a user of this site.
            client: only those linked through this OAuth client.
        """
        owner: Any = user.pk
        is_chosen = self._db is not None  # type: ignore[attr-defined]
        rows = self if is_chosen else self.using(router.db_for_write(self.model))
        accounts = rows.filter(user_id=owner).order_by("-is_default", "linked_at", "pk")
        return accounts if client is None else accounts.filter(client=client)

    #: The keys of the accounts whose tokens are in the outbox by now, while they are deleted.
    moved: Collection[uuid.UUID] = ()

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the accounts, and leave their grants to ``google_link_revoke_pending``."""
        from .accounts.deletions import move_queryset

        self._for_write = True
        with transaction.atomic(using=self.db):
            self.moved = move_queryset(self)
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class _OwnerField(models.ForeignKey):  # type: ignore[type-arg]
    """A foreign key that deletes with the user, and sees to the tokens before it does."""

    def __init__(self, to: Any, on_delete: Any = None, **options: Any) -> None:
        super().__init__(to, on_delete=_delete_with_user, **options)

    def deconstruct(self) -> Any:
        """Return what a migration needs to know: to the database it is like any other."""
        name, _, args, options = super().deconstruct()
        return name, "django.db.models.ForeignKey", args, {**options, "on_delete": models.CASCADE}


def _delete_with_user(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    from .accounts.deletions import delete_with_user

    delete_with_user(collector, field, sub_objs, using)


# The rows are read where it is known which of their columns are needed.
_delete_with_user.lazy_sub_objs = True  # type: ignore[attr-defined]


class SealedTokens(models.Model):
    """A row with tokens, sealed for what it belongs to."""

    sealed_refresh_token = models.TextField(blank=True, editable=False)
    sealed_access_token = models.TextField(blank=True, editable=False)

    class Meta:
        abstract = True

    def seal_token(self, name: TokenName, token: Secret) -> None:
        """Put a token into its column, sealed for this row. Does not save."""
        sealed = seal(token, self.binding_of(name))
        if name == "refresh_token":
            self.sealed_refresh_token = sealed
        else:
            self.sealed_access_token = sealed

    def unseal_token(self, name: TokenName) -> Secret | None:
        """Decrypt a token, or return ``None`` where none is stored.

        Raises:
            EncryptionKeyUnavailableError: when its key is not configured.
            TokenUndecryptableError: when it is not what was sealed for this row and owner.
        """
        sealed = self.sealed_token(name)
        return unseal(sealed, self.binding_of(name)) if sealed else None

    def sealed_token(self, name: TokenName) -> str:
        """Return a token as it is stored; empty where none is."""
        return self.sealed_refresh_token if name == "refresh_token" else self.sealed_access_token

    def binding_of(self, name: TokenName) -> Binding:
        """Return what a token of this row is sealed for."""
        raise NotImplementedError


class GoogleAccount(SealedTokens):
    """One local user's link to one Google account, through one OAuth client.

    Tokens stand here sealed, and are not for your code: ask ``services`` for what you need.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = _OwnerField(
        django_conf.auth_user_model,
        related_name="google_accounts",
        verbose_name=_("user"),
        editable=False,
        db_index=False,  # The constraint below has an index that begins with it.
    )
    client = models.CharField(_("client"), max_length=100, editable=False)
    # Who issued the tokens, and to whom: they are of no use to any other.
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
    # Whether its user has made it the default. The first one is by itself, until they do.
    is_chosen_default = models.BooleanField(_("chosen by its user"), default=False, editable=False)
    granted_scopes = models.JSONField(_("granted scopes"), default=list)
    status = models.CharField(
        _("status"), max_length=30, choices=Status.choices, default=Status.ACTIVE
    )
    status_reason = models.CharField(_("reason"), max_length=30, blank=True)
    status_changed_at = MomentField(_("status changed"), default=timezone.now)

    # Kept by the database: which key sealed it, without reading every token to count them.
    sealed_by = models.GeneratedField(
        expression=Left("sealed_refresh_token", PREFIX_LENGTH),
        output_field=models.CharField(max_length=PREFIX_LENGTH),
        db_persist=True,
    )
    # By which it is found when Google names it: see ``encryption.token_digests``. They are written
    # together with what is sealed, and are empty where nothing is.
    refresh_token_prefix_digest = models.CharField(
        max_length=DIGEST_LENGTH, blank=True, editable=False
    )
    refresh_token_hash_digest = models.CharField(
        max_length=DIGEST_LENGTH, blank=True, editable=False
    )
    # Those that it is known to carry: what is granted later, it may not.
    refresh_token_scopes = models.JSONField(default=list, editable=False)
    # Where the user has granted access for a limited time.
    refresh_token_expires_at = MomentField(
        _("grant ends"), null=True, blank=True, editable=False, db_index=True
    )
    ending_announced_at = MomentField(null=True, blank=True, editable=False)
    access_token_expires_at = MomentField(null=True, blank=True, editable=False)
    # Where the provider gives none: the link lasts as long as its access token.
    without_refresh_token = models.BooleanField(default=False, editable=False)
    # Counts the grants this row has held, so that a slow refresh of an old one is not written.
    grant_version = models.PositiveIntegerField(default=1, editable=False)
    refresh_lease = models.UUIDField(null=True, blank=True, editable=False)
    refresh_lease_expires_at = MomentField(null=True, blank=True, editable=False)
    refresh_failures = models.PositiveSmallIntegerField(default=0, editable=False)
    refresh_problem = models.CharField(
        _("problem"), max_length=20, blank=True, choices=RefreshProblem.choices, editable=False
    )
    refresh_error = models.CharField(_("last error"), max_length=100, blank=True, editable=False)
    # By the database's clock, as whatever workers compare.
    refresh_failed_at = MomentField(_("last failure"), null=True, blank=True, editable=False)
    refresh_failing_since = MomentField(
        _("refresh failing since"), null=True, blank=True, editable=False, db_index=True
    )
    refresh_retry_at = MomentField(_("next attempt"), null=True, blank=True, editable=False)
    refresh_forced_at = MomentField(null=True, blank=True, editable=False)
    refreshed_at = MomentField(_("last refresh"), null=True, blank=True, editable=False)
    # By the site's code, to the hour: no view has to write for it.
    last_used_at = MomentField(_("last used"), null=True, blank=True, editable=False)

    linked_at = MomentField(_("linked"), default=timezone.now, editable=False, db_index=True)
    # When its user has last given consent: what Google says of the time before is about an older
    # grant.
    granted_at = MomentField(default=timezone.now, editable=False)

    objects = GoogleAccountQuerySet.as_manager()

    #: Whether the tokens go to the outbox together with those of others, when this row is deleted.
    moves_with_user = False
    #: What its user has just done, for who stores a grant: linked it for the first time, and
    #: granted these scopes besides those before.
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
            # Searched for by its beginning: of PostgreSQL's operators only these serve that.
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
        """Put a token into its column, a refresh token with its digests. Does not save."""
        super().seal_token(name, token)
        if name == "refresh_token":
            digests = digest_token(token)
            self.refresh_token_prefix_digest = digests.prefix
            self.refresh_token_hash_digest = digests.double_hash

    def drop_refresh_token(self) -> None:
        """Empty the columns of the refresh token and its digests. Does not save."""
        for name in REFRESH_TOKEN_FIELDS:
            setattr(self, name, "")

    def drop_tokens(self) -> None:
        """Empty the columns of both tokens. Does not save."""
        self.drop_refresh_token()
        self.sealed_access_token = ""

    @property
    def display_name(self) -> str:
        """What its user calls this account, or else its name at Google."""
        return self.label or self.name_at_google

    @property
    def full_display_name(self) -> str:
        """The label of this account and its name at Google, as in ``Home (a@example.com)``."""
        return f"{self.label} ({self.name_at_google})" if self.label else self.name_at_google

    @property
    def name_at_google(self) -> str:
        """What the account is known by at Google, or at another provider."""
        return self.email or self.name or (self.sub if has_subject(self) else self.provider)

    @property
    def provider(self) -> str:
        """What users call the provider of the account: ``DISPLAY_NAME`` of its client."""
        return name_provider(self)

    @property
    def is_active(self) -> bool:
        """Whether the provider honours the grant, as far as we know."""
        if self.status != Status.ACTIVE:
            return False
        return bool(self.sealed_refresh_token) or (
            self.without_refresh_token and self.has_unexpired_access_token()
        )

    @property
    def lost_reason(self) -> str:
        """Why an account that is not active has to be linked again, in a word."""
        return self.status_reason or (
            Reason.EXPIRED if self.without_refresh_token else "no_refresh_token"
        )

    @property
    def ends_at(self) -> datetime | None:
        """When the grant ends, if it is for a limited time or lasts as its access token does."""
        ends_at: datetime | None = (
            self.access_token_expires_at
            if self.without_refresh_token
            else self.refresh_token_expires_at
        )
        return ends_at if self.is_active else None

    @property
    def ends_soon(self) -> bool:
        """Whether a grant that lasts for longer than an access token ends within a week."""
        if self.without_refresh_token or self.ends_at is None:
            return False
        return self.ends_at <= clock.now() + ENDING_NOTICE

    @property
    def has_ended(self) -> bool:
        """Whether the time for which access was granted is over."""
        return self.ends_at is not None and self.ends_at <= clock.now()

    def is_ready(self, *scopes: str) -> bool:
        """Whether the account can be used for these scopes, as far as we know."""
        return self.is_active and not self.missing_scopes(*scopes)

    def missing_scopes(self, *scopes: str) -> frozenset[str]:
        """Return those of the scopes that the user has not granted; aliases count as equal.

        A scope that another one implies is granted with it.
        """
        return missing_scopes(scopes, self.granted_scopes)

    def has_unexpired_access_token(self, *, leeway: timedelta = timedelta()) -> bool:
        """Return whether an access token is stored that lives longer than the leeway."""
        return bool(self.sealed_access_token) and is_unexpired(
            self.access_token_expires_at, leeway=leeway
        )

    @property
    def access_token_lifetime(self) -> timedelta | None:
        """From when the access token came to when it expires, if both are known."""
        if self.access_token_expires_at is None or self.refreshed_at is None:
            return None
        lifetime: timedelta = self.access_token_expires_at - self.refreshed_at
        return lifetime if lifetime > timedelta() else None

    def unlink(self) -> None:
        """Revoke the grant at Google and delete this link."""
        from .accounts.ownership import unlink

        unlink(self)

    def make_default(self) -> None:
        """Make this the account that is used where its user did not choose one."""
        from .accounts.ownership import make_default

        make_default(self)

    def reassign(self, user: AbstractBaseUser) -> None:
        """Move this link to another user of the site, for whom its tokens are sealed anew."""
        from .accounts.ownership import reassign

        reassign(self, user)

    @property
    def owner(self) -> str:
        """The primary key of the user, as text: the tokens are bound to it."""
        user: Any = self._meta.get_field("user")
        return str(user.target_field.to_python(self.user_id))

    def binding_of(self, name: TokenName) -> Binding:
        """Return what a token of this row is sealed for."""
        return Binding(
            purpose=_PURPOSES[name],
            row_id=str(self.pk),
            owner=self.owner,
            sub=self.sub,
            issuer=self.issuer,
            client_id=self.client_id,
        )


class PendingRevocation(SealedTokens):
    """The tokens of a link that is gone, kept until Google has been told to end the grant.

    They stay sealed for the account that they belonged to, so that nothing has to be decrypted to
    delete one, and a key that is missing today can be put back tomorrow.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account_id = models.UUIDField(_("account"), editable=False, db_index=True)
    owner = models.CharField(_("user"), max_length=255, editable=False)
    client = models.CharField(_("client"), max_length=100, editable=False)
    issuer = models.CharField(_("issuer"), max_length=255, blank=True, editable=False)
    client_id = models.CharField(_("client id"), max_length=255, blank=True, editable=False)
    # Empty, if the grant could not be verified.
    sub = models.CharField(_("subject"), max_length=255, blank=True, editable=False)
    attempts = models.PositiveIntegerField(_("attempts"), default=0, editable=False)
    retry_at = MomentField(_("next attempt"), editable=False)
    # When Google last gave something for them: of the tokens of one grant the newest lives longest.
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
        """Whether the tokens were a link's. Others are put here for as long as they are stored."""
        return bool(self.account_id != self.pk)

    @property
    def provider(self) -> str:
        """What users call the provider that has given the tokens."""
        return name_provider(self)

    def binding_of(self, name: TokenName) -> Binding:
        """Return what a token of this row is sealed for."""
        return Binding(
            purpose=_PURPOSES[name],
            row_id=str(self.account_id),
            owner=self.owner,
            sub=self.sub,
            issuer=self.issuer,
            client_id=self.client_id,
        )


class HistoryEntry(models.Model):
    """Something that has happened to a link: written together with it, and never changed.

    It outlives the link and its user, and refers to both by their ids alone. It holds no token, no
    address, no name and no label.
    """

    id = models.BigAutoField(primary_key=True)
    account_id = models.UUIDField(_("account"), editable=False)
    owner = models.CharField(_("user"), max_length=255, editable=False)
    client = models.CharField(_("client"), max_length=100, editable=False)
    issuer = models.CharField(_("issuer"), max_length=255, blank=True, editable=False)
    # Empty, if the grant could not be verified.
    sub = models.CharField(_("subject"), max_length=255, blank=True, editable=False)
    event = models.CharField(_("event"), max_length=30, editable=False)
    details = models.JSONField(_("details"), default=dict, editable=False)
    actor_kind = models.CharField(_("by"), max_length=10, editable=False)
    # A primary key as text, or the name of a command; empty, where there is nothing to name.
    actor = models.CharField(_("who"), max_length=255, blank=True, editable=False)
    created_at = MomentField(_("when"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("link history entry")
        verbose_name_plural = _("link history")
        # All but the newest entries of an account are read in the order of their keys.
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
        """What has happened, for people."""
        return str(dict(HistoryEvent.choices).get(self.event, self.event))

    @property
    def actor_label(self) -> str:
        """Who has done it, for people."""
        kind = dict(ActorKind.choices).get(self.actor_kind, self.actor_kind)
        return " ".join(filter(None, [str(kind), self.actor]))


class CircuitBreaker(models.Model):
    """What all workers know of one issuer's availability: while it is away, nobody asks it.

    It is open while ``opened_at`` is set, and ``retry_at`` is then the time of the next probe.
    Its times are the database's.
    """

    # By its digest, since some databases compare text without case.
    digest = models.CharField(max_length=64, primary_key=True, editable=False)
    issuer = models.CharField(_("issuer"), max_length=255, editable=False)
    failures = models.PositiveIntegerField(_("consecutive failures"), default=0, editable=False)
    # The first of them, and whether there were others: one bad account is no outage.
    account = models.CharField(max_length=255, blank=True, editable=False)
    has_several_accounts = models.BooleanField(default=False, editable=False)
    # The process that cannot connect: it may be that one's network.
    worker = models.CharField(max_length=100, blank=True, editable=False)
    opened_at = MomentField(_("since"), null=True, blank=True, editable=False)
    retry_at = MomentField(_("next attempt"), null=True, blank=True, editable=False)
    closed_at = MomentField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return self.issuer


class EndedGrant(models.Model):
    """A grant that is being ended at Google, or was a moment ago.

    Whoever links the same account in that moment has to ask Google whether the new grant lives.
    Its times are the database's.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Of the issuer and the ``sub``: it outlives the user.
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
    """A ``state`` or a ticket that has come back: it is good for one exchange, in whatever worker.

    It is remembered for longer than it would have been good for, and where it led.
    """

    digest = models.CharField(max_length=64, primary_key=True, editable=False)
    owner = models.CharField(max_length=255, editable=False)
    # Of a ticket: what its user was asked for through this client, then or before, and did not
    # grant. A session remembers that of a ``state``.
    client = models.CharField(max_length=100, blank=True, editable=False)
    declined = models.JSONField(default=list, editable=False)
    # Empty until the exchange has come to its end.
    location = models.TextField(blank=True, editable=False)
    is_finished = models.BooleanField(default=False, editable=False)
    spent_at = MomentField(default=timezone.now, editable=False, db_index=True)

    class Meta:
        indexes = [models.Index(fields=["owner", "client"], name="google_link_spent_owner")]

    def __str__(self) -> str:
        return self.digest


class SecurityEvent(models.Model):
    """What Google has told of its accounts: one row for each token that was accepted."""

    # Of the issuer and the ``jti``: each is acted on once.
    digest = models.CharField(max_length=64, primary_key=True, editable=False)
    # The last part of each event's URI.
    types = models.CharField(_("events"), max_length=255, editable=False)
    sub = models.CharField(_("subject"), max_length=255, blank=True, editable=False)
    reason = models.CharField(_("reason"), max_length=100, blank=True, editable=False)
    # What a verification was asked with.
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
    """A link about which Google is to be asked, and when it was asked last.

    Its times are the database's.
    """

    # No foreign key: users are deleted by the thousand, without their links being read.
    account_id = models.UUIDField(primary_key=True, editable=False)
    # Empty, when Google has been asked.
    requested_at = MomentField(null=True, blank=True, editable=False, db_index=True)
    asked_at = MomentField(null=True, blank=True, editable=False)

    def __str__(self) -> str:
        return str(self.account_id)


def is_unexpired(expires_at: datetime | None, *, leeway: timedelta = timedelta()) -> bool:
    """Return whether something lives longer than the leeway; without an expiry it does."""
    return expires_at is None or clock.now() + leeway < expires_at
