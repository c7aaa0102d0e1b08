"""Linked accounts in the admin."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db import router, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..accounts.transactions import run_in_transaction
from ..models import GoogleAccount, HistoryEvent, Reason
from ..scopes import IDENTITY_SCOPES, describe_scope
from .base import LinkAdmin, is_damaged
from .columns import display_date, let_break, name_client, shorten_scope, with_provider
from .filters import ClientFilter, FailingFilter, KeyFilter, ReasonFilter
from .history import render_history
from .users import find_users

#: Longer than Google's access tokens are valid, so that every one is refreshed.
_LONGER_THAN_A_TOKEN = timedelta(hours=2)
#: The most scopes that the list names per account.
_MOST_SCOPES = 3


@admin.register(GoogleAccount)
class GoogleAccountAdmin(LinkAdmin):
    """Shows the links, their state at Google, and what operators can do about it."""

    actions = ("check_now", "refresh_now", "reauthorize", "reencrypt", "delete_selected")
    delete_confirmation_template = "django_google_link/admin/delete_account.html"
    delete_selected_confirmation_template = "django_google_link/admin/delete_accounts.html"
    list_display = ("account", "user", "state", "scope_names", "linked", "last_used")
    sortable_by = ("account", "user", "state", "linked", "last_used", "provider")
    list_filter = ("status", ReasonFilter, FailingFilter, ClientFilter, KeyFilter)
    list_select_related = ("user",)
    lookup_fields = ("status", "status_reason", "refresh", "client", "key", "user")
    ordering = ("-linked_at",)
    search_fields = ("email",)  # Shows the search box; see get_search_results.
    search_help_text = gettext_lazy(
        "A full user name, a full subject, or the beginning of an e-mail address"
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "user",
                    "email",
                    "email_verified",
                    "name",
                    "hosted_domain",
                    "sub",
                    "client",
                    "client_id",
                    "label",
                    "is_default",
                )
            },
        ),
        (gettext_lazy("Grant"), {"fields": ("state", "status_changed_at", "scopes")}),
        (
            gettext_lazy("Tokens"),
            {
                "fields": (
                    "refresh_token",
                    "refresh_token_expires_at",
                    "access_token",
                    "access_token_expires_at",
                )
            },
        ),
        (
            gettext_lazy("Grant timeline"),
            {
                "fields": (
                    "linked_at",
                    "refreshed_at",
                    "last_used_at",
                    "refresh_failing_since",
                    "refresh_failures",
                    "refresh_failed_at",
                    "refresh_problem",
                    "refresh_error",
                    "refresh_retry_at",
                    "refresh_forced_at",
                )
            },
        ),
        (gettext_lazy("History"), {"fields": ("history",)}),
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search only columns that have an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = Q(email__startswith=term) | Q(email__startswith=term.lower()) | Q(sub=term)
        return queryset.filter(found | Q(user_id__in=find_users(term))), False

    def has_check_permission(self, request: HttpRequest) -> bool:
        """Return whether the operator may check grants at the provider."""
        return self.may(request, "check")

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        """Return whether the operator may refresh access tokens."""
        return self.may(request, "refresh")

    def has_reauthorize_permission(self, request: HttpRequest) -> bool:
        """Return whether the operator may have users asked for consent again."""
        return self.may(request, "reauthorize")

    @admin.action(
        permissions=["check"],
        description=gettext_lazy("Check with the provider whether the grant is still valid"),
    )
    def check_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Check each grant at the provider, even those that are lost."""
        from ..operations import refresh

        self.act(
            request,
            queryset,
            refresh.check_account,
            _("Check with the provider"),
            event=HistoryEvent.CHECKED,
            answers={
                refresh.RefreshOutcome.REFRESHED: _("the grant is still valid"),
                refresh.RefreshOutcome.LOST: _(
                    "the grant is no longer valid: its user has to link again"
                ),
            },
            failures=refresh.WIDESPREAD,
        )

    @admin.action(permissions=["refresh"], description=gettext_lazy("Refresh the access token"))
    def refresh_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Refresh the access token of each active account that is not backing off."""
        from ..operations import refresh

        renew = partial(refresh.refresh_account, leeway=_LONGER_THAN_A_TOKEN)
        self.act(
            request,
            queryset,
            renew,
            _("Refresh"),
            event=HistoryEvent.REFRESHED,
            answers={
                refresh.RefreshOutcome.REFRESHED: _("a new access token was stored"),
                refresh.RefreshOutcome.LOST: _(
                    "the grant is no longer valid: its user has to link again"
                ),
            },
            failures=refresh.WIDESPREAD,
        )

    @admin.action(permissions=["reauthorize"], description=gettext_lazy("Ask for consent again"))
    def reauthorize(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Mark the grants as lost, until their users consent or a check finds them valid."""
        from ..accounts.lost_grants import mark_lost

        if self.too_many(request, queryset):
            return
        asked = [row for row in queryset if mark_lost(row, Reason.REQUESTED)]
        for row in asked:
            self.log_change(request, row, _("Ask for consent again"))
        text = ngettext(
            "{count} user will be asked for consent on next use.",
            "{count} users will be asked for consent on next use.",
            len(asked),
        )
        self.message_user(request, text.format(count=len(asked)))

    @admin.action(permissions=["delete"], description=gettext_lazy("Revoke and unlink"))
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> TemplateResponse | None:
        """Unlink after a confirmation, and revoke the grants at Google."""
        return self.confirm_and_delete(request, queryset)

    def delete_model(self, request: HttpRequest, obj: GoogleAccount) -> None:
        """Unlink an account, as its user can."""
        obj.unlink()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Unlink the accounts, and attempt to revoke the first grant at Google."""
        from ..accounts.outbox import read_outbox

        pending = read_outbox().filter(account_id__in=[account.pk for account in queryset])
        run_in_transaction(queryset.delete, using=router.db_for_write(GoogleAccount))
        transaction.on_commit(lambda: self._begin_to_revoke(request, pending))

    def _begin_to_revoke(self, request: HttpRequest, pending: QuerySet[Any]) -> None:
        from ..operations.revoke_pending import process_now

        if first := pending.first():
            process_now(first)
        if pending.exists():
            text = _(
                "Some of them have not been revoked yet: google_link_revoke_pending will retry."
            )
            self.message_user(request, text, messages.WARNING)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Show the provider and the client if there are several clients."""
        return with_provider(super().get_list_display(request))

    @admin.display(description=gettext_lazy("account"), ordering="email")
    def account(self, account: GoogleAccount) -> str:
        """Return the name of the account."""
        return let_break(str(account))

    @admin.display(description=gettext_lazy("provider"), ordering="client")
    def provider(self, account: GoogleAccount) -> str:
        """Return the provider, and the name of the client through which the account was linked."""
        return name_client(account.provider, account.client)

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def state(self, account: GoogleAccount) -> str:
        """Return the status with its reason, and since when refreshes fail."""
        reason = dict(Reason.choices).get(account.status_reason, account.status_reason)
        status = ": ".join(filter(None, [account.get_status_display(), str(reason)]))
        if is_damaged(account.sealed_refresh_token):
            status = f"{status}; {_('damaged')}"
        if not account.refresh_failing_since:
            return status
        text = _("{status}; refresh failing since {date}")
        return text.format(status=status, date=display_date(account.refresh_failing_since))

    @admin.display(description=gettext_lazy("linked"), ordering="linked_at")
    def linked(self, account: GoogleAccount) -> str:
        """Return the date of linking."""
        return display_date(account.linked_at)

    @admin.display(description=gettext_lazy("last used"), ordering="last_used_at")
    def last_used(self, account: GoogleAccount) -> str:
        """Return the date of last use."""
        return display_date(account.last_used_at)

    @admin.display(description=gettext_lazy("scopes"))
    def scope_names(self, account: GoogleAccount) -> str:
        """Return the first granted scopes by their short names; the account's page shows all."""
        names = [
            shorten_scope(scope)
            for scope in _list_granted_scopes(account)
            if scope not in IDENTITY_SCOPES
        ]
        if not names:
            return _("identity only")
        lines = names[:_MOST_SCOPES]
        if left := len(names[_MOST_SCOPES:]):
            lines.append(_("and {count} more").format(count=left))
        return format_html_join(mark_safe("<br>"), "{}", ((let_break(line),) for line in lines))

    @admin.display(description=gettext_lazy("granted scopes"))
    def scopes(self, account: GoogleAccount) -> str:
        """Return the granted scopes with their descriptions."""
        names = ((describe_scope(scope), scope) for scope in _list_granted_scopes(account))
        return format_html_join("", "{} ({})<br>", names)

    @admin.display(description=gettext_lazy("latest entries"))
    def history(self, account: GoogleAccount) -> str:
        """Return the latest history entries of the link."""
        return render_history(account, self.admin_site.name)


def _list_granted_scopes(account: GoogleAccount) -> list[str]:
    """Return the granted scopes; none if the row was corrupted by hand."""
    return account.granted_scopes if isinstance(account.granted_scopes, list) else []
