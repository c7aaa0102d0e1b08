"""Base classes of the admin: rows are not edited by hand, and tokens are not shown.

Every process imports the admin at startup. Code that acts on rows is imported by the actions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import model_ngettext
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.core.paginator import Paginator
from django.db import router
from django.db.models import Model, QuerySet, TextChoices
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..accounts import history
from ..accounts.history import acting_as
from ..encryption.format import key_id_of
from ..exceptions import EncryptionKeyUnavailableError, KeyServiceError, TokenUndecryptableError
from ..models import ActorKind, HistoryEvent

#: The most rows per action: Google is asked about one after the other while the operator waits.
MOST_AT_ONCE = 100
#: Seconds after which an action starts no further row: servers end a request after 30.
MOST_SECONDS = 20
#: The most rows that a message names; of more it states the number.
_MOST_NAMES = 3
#: The consecutive failures after which a provider is not asked again by an action.
_MOST_FAILURES = 3


class ShortPaginator(Paginator):  # type: ignore[type-arg]
    """A paginator with a limited count, because counting a million rows takes a second."""

    LONGEST = 5_000

    @cached_property
    def count(self) -> int:
        """The number of rows, up to ``LONGEST``."""
        rows: Any = self.object_list
        return int(rows.order_by()[: self.LONGEST].count())


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows that only the app writes."""

    change_list_template = "django_google_link/admin/change_list.html"
    list_per_page = 50
    paginator = ShortPaginator
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    #: The fields and filters by which the query string may select rows.
    lookup_fields: ClassVar[Collection[str]] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only users link accounts."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """These rows are not edited by hand."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow no other lookups, by which a token could be guessed character by character."""
        field, *_rest = lookup.split("__")
        return field in self.lookup_fields and super().lookup_allowed(lookup, value, request)


class LinkAdmin(ReadOnlyAdmin):
    """Shows links or pending revocations, and acts on them."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the list, or run an action with the operator as the actor."""
        with acting_as(ActorKind.STAFF, request.user.pk):
            return super().changelist_view(request, extra_context)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Ask for confirmation, and delete on POST with the operator as the actor."""
        with acting_as(ActorKind.STAFF, request.user.pk):
            return super().delete_view(request, object_id, extra_context)

    def has_reencrypt_permission(self, request: HttpRequest) -> bool:
        """Return whether the operator may re-encrypt tokens."""
        return self.may(request, "reencrypt")

    def may(self, request: HttpRequest, verb: str) -> bool:
        """Return whether the operator has the permission for an action."""
        user: Any = request.user
        return bool(user.has_perm(f"{self.opts.app_label}.{verb}_{self.opts.model_name}"))

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Write to the admin's log without the e-mail address, since the log outlives the link."""
        return self._write_log(request, [obj], CHANGE, message)[0]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Write deletions to the admin's log without e-mail addresses."""
        return self._write_log(request, queryset, DELETION, "")

    def _write_log(
        self, request: HttpRequest, rows: Iterable[Any], flag: int, message: Any
    ) -> list[LogEntry]:
        operator: Any = request.user
        kind = ContentType.objects.get_for_model(self.model, for_concrete_model=False)
        return LogEntry.objects.bulk_create(
            LogEntry(
                user_id=operator.pk,
                content_type_id=kind.pk,
                object_id=str(row.pk),
                object_repr=str(row.pk),
                action_flag=flag,
                change_message=message if isinstance(message, str) else json.dumps(message),
            )
            for row in rows
        )

    @admin.action(
        permissions=["reencrypt"], description=gettext_lazy("Encrypt tokens with the newest key")
    )
    def reencrypt(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Reseal the tokens of these rows with the newest key."""
        from ..operations import rotate_keys

        try:
            self.act(request, queryset, rotate_keys.reseal_row, _("Re-encrypt"))
        except ImproperlyConfigured as error:
            self.message_user(request, str(error), messages.ERROR)

    def too_many(self, request: HttpRequest, queryset: QuerySet[Any]) -> bool:
        """Refuse more rows than a request can process in time."""
        if len(queryset.order_by()[: MOST_AT_ONCE + 1].values_list("pk")) <= MOST_AT_ONCE:
            return False
        text = _("Select at most {count}. The management commands handle any number.")
        self.message_user(request, text.format(count=MOST_AT_ONCE), messages.ERROR)
        return True

    def confirm_and_delete(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> TemplateResponse | None:
        """Delete after a confirmation, if the rows are few enough."""
        if self.too_many(request, queryset):
            return None
        return delete_selected(self, request, queryset)

    def act(
        self,
        request: HttpRequest,
        queryset: QuerySet[Any],
        action: Callable[[Any], TextChoices],
        name: str,
        *,
        event: HistoryEvent | None = None,
        failures: Collection[TextChoices] = (),
        answers: Mapping[Any, str] = MappingProxyType({}),
    ) -> None:
        """Run an action on each row, log the outcomes, and show a summary.

        If the time of a request is not enough, the page reports how many rows are left.

        Args:
            request: the operator's request.
            queryset: the selected rows.
            action: takes a row and returns an outcome.
            name: the name of the action, for the admin's log.
            event: recorded in the link's history, if the action records nothing itself.
            failures: outcomes caused by the provider rather than the row: after three in a row, its
                other rows are skipped.
            answers: what an outcome means for a row, if its label does not say so.
        """
        from ..operations.patience import Patience

        if self.too_many(request, queryset):
            return
        told, left, patience = dict[str, list[str]](), queryset.count(), Patience(_MOST_FAILURES)
        until = time.monotonic() + MOST_SECONDS
        for row in queryset:
            if patience.is_over(row.issuer):
                continue
            outcome = action(row)
            answer = answers.get(outcome, str(outcome.label))
            told.setdefault(answer, []).append(str(row))
            self.log_change(request, row, f"{name}: {answer}")
            if event:
                using = router.db_for_write(type(row))
                history.record(row, event, using=using, outcome=outcome.value)
            if outcome in failures:
                patience.count_failure(row.issuer)
            else:
                patience.note_answer(row.issuer)
            left -= 1
            if time.monotonic() > until:
                break
        for answer, rows in told.items():
            self.message_user(request, f"{answer} ({self._name_rows(rows)})")
        if left:
            text = ngettext("{left} was not processed.", "{left} were not processed.", left)
            self.message_user(request, text.format(left=left), messages.WARNING)

    def _name_rows(self, rows: list[str]) -> str:
        """Return the names of the rows, or their number."""
        if len(set(rows)) == len(rows) <= _MOST_NAMES:
            return ", ".join(rows)
        return f"{len(rows)} {model_ngettext(self.opts, len(rows))}"

    @admin.display(description=gettext_lazy("refresh token"))
    def refresh_token(self, row: Any) -> str:
        """Describe the refresh token without showing it."""
        return describe_token(row.sealed_refresh_token, partial(row.unseal_token, "refresh_token"))

    @admin.display(description=gettext_lazy("access token"))
    def access_token(self, row: Any) -> str:
        """Describe the access token without showing it."""
        return describe_token(row.sealed_access_token, partial(row.unseal_token, "access_token"))


def describe_token(sealed: str, unseal: Callable[[], object]) -> str:
    """Return whether a token is stored, with which key, and whether it can be decrypted."""
    if not sealed:
        return _("not stored")
    try:
        unseal()
    except KeyServiceError as error:
        return _("stored, but cannot be read: {error}").format(error=error)
    except EncryptionKeyUnavailableError:
        text = _("stored, but its key {key} is not configured: add it back to ENCRYPTION_KEYS")
        return text.format(key=describe_key(sealed))
    except TokenUndecryptableError:
        return _("damaged: no key can decrypt it, and its user has to link the account again")
    except ImproperlyConfigured as error:
        return _("stored, but cannot be read: {error}").format(error=error)
    text = _("stored, key {key}, {length} characters")
    return text.format(key=describe_key(sealed), length=len(sealed))


def is_damaged(sealed: str) -> bool:
    """Return whether a stored token does not have the format of a sealed token."""
    return bool(sealed) and describe_key(sealed) == _("damaged")


def describe_key(sealed: str) -> str:
    """Return the id of the key that sealed a token, or a placeholder."""
    if not sealed:
        return "–"
    try:
        return key_id_of(sealed)
    except TokenUndecryptableError:
        return _("damaged")
