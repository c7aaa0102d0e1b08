"""What the endpoints take and give, for schemas and the forms of other tools.

They validate nothing: ``headless`` does that, for every mount in the same way.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class GrantedScopeSerializer(serializers.Serializer[Any]):
    """One scope, with what it allows."""

    scope = serializers.CharField(read_only=True)
    description = serializers.CharField(read_only=True)


class AccountSerializer(serializers.Serializer[Any]):
    """One linked account; ``label`` and ``is_default`` may be changed."""

    id = serializers.UUIDField(read_only=True)
    email = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
    picture = serializers.CharField(read_only=True)
    # A field has an attribute of this name, which the class's own takes nothing from.
    label = serializers.CharField(  # type: ignore[assignment]
        required=False, allow_blank=True, max_length=60
    )
    client = serializers.CharField(read_only=True)
    granted_scopes = GrantedScopeSerializer(many=True, read_only=True)
    status = serializers.ChoiceField(["active", "needs_reauthorization"], read_only=True)
    reason = serializers.CharField(read_only=True)
    is_default = serializers.BooleanField(required=False)
    linked_at = serializers.DateTimeField(read_only=True)
    ends_at = serializers.DateTimeField(read_only=True, allow_null=True)


class AccountsSerializer(serializers.Serializer[Any]):
    """All linked accounts of a user."""

    accounts = AccountSerializer(many=True, read_only=True)


class LinkSerializer(serializers.Serializer[Any]):
    """What starts a link, and what is needed to send the user to Google."""

    link_request = serializers.CharField(write_only=True, required=False)
    account = serializers.UUIDField(write_only=True, required=False)
    add = serializers.BooleanField(write_only=True, required=False)
    origin = serializers.CharField(write_only=True, required=False)
    mode = serializers.ChoiceField(["redirect", "identity_services", "mobile"], required=False)
    redirect_uri = serializers.CharField(required=False, allow_null=True)
    ticket = serializers.CharField(read_only=True)
    authorization_url = serializers.CharField(read_only=True, allow_null=True)
    client_id = serializers.CharField(read_only=True)
    scope = serializers.CharField(read_only=True)
    state = serializers.CharField(read_only=True, allow_null=True)
    login_hint = serializers.CharField(read_only=True)
    prompt = serializers.CharField(read_only=True)
    hd = serializers.CharField(read_only=True, allow_null=True)
    include_granted_scopes = serializers.BooleanField(read_only=True)
    expires_in = serializers.IntegerField(read_only=True)


class CompletionSerializer(serializers.Serializer[Any]):
    """A ticket with what came back, and the account that it led to."""

    ticket = serializers.CharField(write_only=True)
    code = serializers.CharField(write_only=True, required=False)
    state = serializers.CharField(write_only=True, required=False)
    iss = serializers.CharField(write_only=True, required=False)
    error = serializers.CharField(write_only=True, required=False)
    redirect_uri = serializers.CharField(write_only=True, required=False)
    account = AccountSerializer(read_only=True)
    missing_scopes = serializers.ListField(child=serializers.CharField(), read_only=True)
