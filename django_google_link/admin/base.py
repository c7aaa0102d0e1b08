"""What the pages of both models have in common: nothing is edited by hand, and no token shown.

Every process imports these pages when it starts. What acts on rows is imported by the actions.
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

#: Google is asked about one after the other, and a page cannot take for ever.
MOST_AT_ONCE = 100
#: Seconds after which an action begins with no other row: servers end a request after 30.
MOST_SECONDS = 20
#: Rows that a message names; of more it says how many they are.
_MOST_NAMES = 3


class ShortPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than anybody turns pages: to count a million rows takes a second."""

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
    #: The fields and filters by which an address may select rows.
    lookup_fields: ClassVar[Collection[str]] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only users link accounts."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nothing in these rows is for anybody to write."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse to look rows up by anything else: a token could be guessed letter by letter."""
        field, *_rest = lookup.split("__")
        return field in self.lookup_fields and super().lookup_allowed(lookup, value, request)


class LinkAdmin(ReadOnlyAdmin):
    """Shows links, or what is left of them, and acts on them."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the list, or act on what is ticked in it, as this operator."""
        with acting_as(ActorKind.STAFF, request.user.pk):
            return super().changelist_view(request, extra_context)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Ask before a row is deleted, and do it on POST, as this operator."""
        with acting_as(ActorKind.STAFF, request.user.pk):
            return super().delete_view(request, object_id, extra_context)

    def has_reencrypt_permission(self, request: HttpRequest) -> bool:
        """Whether this operator may re-encrypt tokens."""
        return self.may(request, "reencrypt")

    def may(self, request: HttpRequest, verb: str) -> bool:
        """Whether this operator has the permission for an action."""
        user: Any = request.user
        return bool(user.has_perm(f"{self.opts.app_label}.{verb}_{self.opts.model_name}"))

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Write into Django's own log what was done, with no address: it outlives the link."""
        return self._write_log(request, [obj], CHANGE, message)[0]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Write into Django's own log what is deleted, with no address."""
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
        """Refuse what would take longer than a page may."""
        if len(queryset.order_by()[: MOST_AT_ONCE + 1].values_list("pk")) <= MOST_AT_ONCE:
            return False
        text = _("Select at most {count}. The management commands handle any number.")
        self.message_user(request, text.format(count=MOST_AT_ONCE), messages.ERROR)
        return True

    def confirm_and_delete(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> TemplateResponse | None:
        """Delete after a confirmation what a page can."""
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
        """Do the same to each row, keep in Django's log what came of it, and sum up.

        What takes longer than a request may is left, and the page says how much that is.

        Args:
            action: takes a row and returns an outcome.
            name: of the action, for Django's log.
            event: for the history of the link, where the action writes none by itself.
            failures: outcomes that speak of Google rather than of the row: three in a row end it,
                and the first one after ``HTTP_TIMEOUT``.
            answers: what an outcome means for a row, where its own label does not say.
        """
        if self.too_many(request, queryset):
            return
        told, left, patience = dict[str, list[str]](), queryset.count(), 3
        until = time.monotonic() + MOST_SECONDS
        for row in queryset:
            outcome = action(row)
            answer = answers.get(outcome, str(outcome.label))
            told.setdefault(answer, []).append(str(row))
            self.log_change(request, row, f"{name}: {answer}")
            if event:
                using = router.db_for_write(type(row))
                history.record(row, event, using=using, outcome=outcome.value)
            patience = patience - 1 if outcome in failures else 3
            left -= 1
            if not patience or time.monotonic() > until:
                break
        for answer, rows in told.items():
            self.message_user(request, f"{answer} ({self._name_rows(rows)})")  # It gets a capital.
        if left:
            text = ngettext("{left} was not processed.", "{left} were not processed.", left)
            self.message_user(request, text.format(left=left), messages.WARNING)

    def _name_rows(self, rows: list[str]) -> str:
        """Return what rows are called, or how many they are."""
        if len(set(rows)) == len(rows) <= _MOST_NAMES:
            return ", ".join(rows)
        return f"{len(rows)} {model_ngettext(self.opts, len(rows))}"

    @admin.display(description=gettext_lazy("refresh token"))
    def refresh_token(self, row: Any) -> str:
        """Say what is known of the refresh token."""
        return describe_token(row.sealed_refresh_token, partial(row.unseal_token, "refresh_token"))

    @admin.display(description=gettext_lazy("access token"))
    def access_token(self, row: Any) -> str:
        """Say what is known of the access token."""
        return describe_token(row.sealed_access_token, partial(row.unseal_token, "access_token"))


def describe_token(sealed: str, unseal: Callable[[], object]) -> str:
    """Say of a stored token that it is there, which key opens it, and if not why not."""
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
    """Return whether a stored token is none that this app has sealed."""
    return bool(sealed) and describe_key(sealed) == _("damaged")


def describe_key(sealed: str) -> str:
    """Return the id of the key of a sealed token, or what to show in its place."""
    if not sealed:
        return "–"
    try:
        return key_id_of(sealed)
    except TokenUndecryptableError:
        return _("damaged")
