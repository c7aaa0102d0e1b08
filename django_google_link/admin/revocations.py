"""The outbox in the admin: grants whose revocation Google has not confirmed yet."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import PendingRevocation
from .base import LinkAdmin, describe_key
from .filters import ClientFilter


@admin.register(PendingRevocation)
class PendingRevocationAdmin(LinkAdmin):
    """Shows pending revocations and their last errors."""

    actions = ("revoke_now", "reencrypt", "delete_selected")
    delete_confirmation_template = "django_google_link/admin/delete_revocation.html"
    delete_selected_confirmation_template = "django_google_link/admin/delete_revocations.html"
    list_display = ("__str__", "owner", "client", "key", "created_at", "attempts", "retry_at")
    list_filter = (ClientFilter,)
    lookup_fields = ("client",)
    ordering = ("created_at",)
    search_fields = ("=sub", "=owner")
    search_help_text = gettext_lazy(
        "A full subject, or the primary key of the user who had the link"
    )
    fieldsets = (
        (None, {"fields": ("sub", "client", "owner", "account_id", "created_at")}),
        (gettext_lazy("Attempts"), {"fields": ("attempts", "retry_at", "last_error")}),
        (gettext_lazy("Tokens"), {"fields": ("refresh_token", "access_token")}),
    )

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Return whether the operator may attempt revocations at once."""
        return self.may(request, "revoke")

    @admin.action(permissions=["revoke"], description=gettext_lazy("Revoke at the provider now"))
    def revoke_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Attempt each at once, even if the next attempt is due later."""
        from ..accounts.revocations import RevocationOutcome
        from ..operations.revoke_pending import process_now

        self.act(
            request, queryset, process_now, _("Revoke"), failures=[RevocationOutcome.UNREACHABLE]
        )

    @admin.action(permissions=["delete"], description=gettext_lazy("Give up"))
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> TemplateResponse | None:
        """Delete revocations after a confirmation: the grants stay valid."""
        return self.confirm_and_delete(request, queryset)

    def delete_model(self, request: HttpRequest, obj: PendingRevocation) -> None:
        """Delete one revocation."""
        from ..accounts.revocations import give_up

        give_up([obj], using=router.db_for_write(PendingRevocation))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete these revocations."""
        from ..accounts.revocations import give_up

        give_up(queryset, using=router.db_for_write(PendingRevocation))

    @admin.display(description=gettext_lazy("key"))
    def key(self, pending: PendingRevocation) -> str:
        """Return the id of the key that sealed the refresh token."""
        return describe_key(pending.sealed_refresh_token)
