"""Serializers of requests and responses, for schemas and the browsable API.

They validate nothing: ``headless`` does, in the same way for all integrations.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class GrantedScopeSerializer(serializers.Serializer[Any]):
    """A scope with its description."""

    scope = serializers.CharField(read_only=True)
    description = serializers.CharField(read_only=True)


class AccountSerializer(serializers.Serializer[Any]):
    """A linked account; ``label`` and ``is_default`` can be changed."""

    id = serializers.UUIDField(read_only=True)
    email = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
    picture = serializers.CharField(read_only=True)
    # Fields have an attribute with this name, but the serializer does not use it.
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
    """The linked accounts of a user."""

    accounts = AccountSerializer(many=True, read_only=True)


class LinkSerializer(serializers.Serializer[Any]):
    """The request that starts a link, and the response to it."""

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
    """The request that completes a link, and the response to it."""

    ticket = serializers.CharField(write_only=True)
    code = serializers.CharField(write_only=True, required=False)
    state = serializers.CharField(write_only=True, required=False)
    iss = serializers.CharField(write_only=True, required=False)
    error = serializers.CharField(write_only=True, required=False)
    redirect_uri = serializers.CharField(write_only=True, required=False)
    account = AccountSerializer(read_only=True)
    missing_scopes = serializers.ListField(child=serializers.CharField(), read_only=True)
