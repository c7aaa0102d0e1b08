"""Parses and validates authorization requests (RFC 6749 section 4.1.1) like Google."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from werkzeug.datastructures import MultiDict

from .errors import OAuthError
from .identities import Directory, FakeClient, FakeUser
from .scopes import OPENID, normalize_scopes

_GOOGLES_PARAMS = frozenset({"access_type", "hd", "include_granted_scopes"})
_OPENIDS_PARAMS = frozenset({"login_hint", "max_age", "nonce", "prompt"})
PROMPTS = frozenset({"none", "consent", "select_account"})
_SCRIPT_PARAMS = frozenset(
    {
        "client_id",
        "gsiwebsdk",
        "hd",
        "include_granted_scopes",
        "login_hint",
        "origin",
        "scope",
        "select_account",
        "state",
    }
)
_S256_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, kw_only=True)
class AuthorizationRequest:
    """A valid request. Scopes are in their long form."""

    client: FakeClient
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str | None
    nonce: str | None
    code_challenge: str | None
    prompt: frozenset[str]
    login_hint: str
    hosted_domain: str | None
    offline: bool
    include_granted_scopes: bool
    #: Whether it is from Google's script, and the response is passed to a page of this origin.
    is_popup: bool = False


@dataclass(frozen=True, kw_only=True)
class AuthorizationCode:
    """A finished authorization, as the token endpoint needs to know it."""

    user: FakeUser
    client: FakeClient
    redirect_uri: str
    scopes: tuple[str, ...]
    nonce: str | None
    code_challenge: str | None
    with_refresh_token: bool
    is_popup: bool = False

    def is_exchanged_with(self, redirect_uri: str | None) -> bool:
        """Return whether the code can be exchanged with this redirect URI.

        For a code from Google's script, that is the page's origin, as Google documents, or
        ``postmessage``, as Google's own libraries send. For one from a mobile SDK, it is empty.
        """
        if self.is_popup and redirect_uri == "postmessage":
            return True
        return redirect_uri == self.redirect_uri


@dataclass(frozen=True, kw_only=True)
class ConsentTicket:
    """A consent page that was shown, with the accounts that it offered."""

    asked: AuthorizationRequest
    accounts: tuple[FakeUser, ...]


def parse_authorization_request(
    args: MultiDict[str, str], directory: Directory
) -> AuthorizationRequest:
    """Parse and validate the parameters of an authorization request.

    See https://developers.google.com/identity/protocols/oauth2/web-server#creatingclient.

    Raises:
        OAuthError: to be shown to the user, since the redirect URI may not be registered.
    """
    for name, values in args.lists():
        if len(values) > 1:
            raise OAuthError("invalid_request", f"Parameter given more than once: {name}")
    client = directory.clients.get(_require(args, "client_id"))
    if client is None:
        raise OAuthError("invalid_client", "The OAuth client was not found.")
    if "gsiwebsdk" in args:
        return _parse_script_request(args, client)
    redirect_uri = _require(args, "redirect_uri")
    if not _may_return_to(client, redirect_uri):
        raise OAuthError("redirect_uri_mismatch", f"Not registered: {redirect_uri}")
    if _require(args, "response_type") != "code":
        raise OAuthError("unsupported_response_type", f"Not code: {args['response_type']}")
    _refuse_unknown(client, args)
    return AuthorizationRequest(
        client=client,
        redirect_uri=redirect_uri,
        scopes=_parse_scopes(client, args),
        state=args.get("state"),
        nonce=args.get("nonce"),
        code_challenge=_parse_code_challenge(args),
        prompt=_parse_prompt(args),
        login_hint=args.get("login_hint", ""),
        hosted_domain=args.get("hd"),
        offline=_parse_choice(args, "access_type", "online", "offline") == "offline",
        include_granted_scopes=_parse_flag(args, "include_granted_scopes"),
    )


def _parse_script_request(args: MultiDict[str, str], client: FakeClient) -> AuthorizationRequest:
    """Parse a request from Google's script, which supports no PKCE, ``nonce`` or ``prompt``.

    See https://developers.google.com/identity/oauth2/web/reference/js-reference#CodeClientConfig.
    """
    unknown = sorted(set(args) - _SCRIPT_PARAMS)
    if unknown:
        raise OAuthError("invalid_request", f"Not a parameter of Google's script: {unknown[0]}")
    origin = _require(args, "origin")
    if origin not in client.javascript_origins and not client.any_host:
        raise OAuthError("origin_mismatch", f"Not a registered JavaScript origin: {origin}")
    return AuthorizationRequest(
        client=client,
        redirect_uri=origin,
        scopes=_parse_scopes(client, args),
        state=args.get("state"),
        nonce=None,
        code_challenge=None,
        prompt=frozenset({"select_account"} if _parse_flag(args, "select_account") else ()),
        login_hint=args.get("login_hint", ""),
        hosted_domain=args.get("hd"),
        offline=True,
        include_granted_scopes=_parse_choice(args, "include_granted_scopes", "true", "false")
        == "true",
        is_popup=True,
    )


def _require(args: MultiDict[str, str], name: str) -> str:
    value = args.get(name, "").strip()
    if not value:
        raise OAuthError("invalid_request", f"Missing required parameter: {name}")
    return value


def _refuse_unknown(client: FakeClient, args: MultiDict[str, str]) -> None:
    """Reject parameters that the client's provider does not define, as strict providers do."""
    unknown = set() if client.speaks_google else set(_GOOGLES_PARAMS)
    if not client.speaks_openid:
        unknown |= _OPENIDS_PARAMS
    found = sorted(unknown.intersection(args))
    if not client.speaks_google and "select_account" in args.get("prompt", "").split():
        found.append("prompt=select_account")
    if found:
        raise OAuthError("invalid_request", f"Unknown parameter: {', '.join(found)}")


def _parse_scopes(client: FakeClient, args: MultiDict[str, str]) -> tuple[str, ...]:
    if not client.speaks_google:
        names = filter(None, args.get("scope", "").split(client.scope_separator))
        scopes = tuple(dict.fromkeys(names))
        invalid = [scope for scope in scopes if " " in scope or "," in scope]
        if not client.speaks_openid:
            invalid += [scope for scope in scopes if scope == OPENID]
        else:
            scopes = normalize_scopes(scopes)
    else:
        scopes = normalize_scopes(_require(args, "scope").split())
        invalid = [scope for scope in scopes if "://" not in scope and scope != OPENID]
    if invalid:
        raise OAuthError("invalid_scope", f"Some requested scopes were invalid: {invalid}")
    return scopes


def _parse_choice(args: MultiDict[str, str], name: str, *choices: str) -> str:
    value = args.get(name, choices[0])
    if value not in choices:
        raise OAuthError("invalid_request", f"Invalid parameter value for {name}: {value}")
    return value


def _parse_flag(args: MultiDict[str, str], name: str) -> bool:
    return _parse_choice(args, name, "false", "true") == "true"


def _may_return_to(client: FakeClient, redirect_uri: str) -> bool:
    if redirect_uri in client.redirect_uris:
        return True
    parts = urlsplit(redirect_uri)
    if client.any_host and parts.path in {urlsplit(known).path for known in client.redirect_uris}:
        return True
    on_loopback = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    return on_loopback and (client.any_host or client.type == "installed")


def _parse_code_challenge(args: MultiDict[str, str]) -> str | None:
    challenge, method = args.get("code_challenge"), args.get("code_challenge_method")
    if challenge is None and method is None:
        return None
    # RFC 7636 section 4.3 treats a missing method as "plain", which nobody should use.
    if method != "S256" or challenge is None or not _S256_CHALLENGE.fullmatch(challenge):
        raise OAuthError("invalid_request", "code_challenge with code_challenge_method=S256 needed")
    return challenge


def _parse_prompt(args: MultiDict[str, str]) -> frozenset[str]:
    prompt = frozenset(args.get("prompt", "").split())
    if prompt - PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise OAuthError("invalid_request", f"Invalid parameter value for prompt: {args['prompt']}")
    return prompt
