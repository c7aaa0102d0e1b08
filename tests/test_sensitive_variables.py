"""Where ``sensitive_variables()`` has to stand, so that no error report shows a token.

Tokens are wrapped in a ``Secret``, which shows nothing of itself, also on Django's debug page. The
decorator is the second belt, for the reports of a site in production. It stands

* where a bare token is a local: whatever a local is made of by ``reveal()`` or ``decrypt()``;
* where a token, or an answer that holds one, is handed in, in all that speaks to Google or stores
  what it says;
* on the functions below that come by one in another way.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "django_google_link"

REVEALING = re.compile(r"\.(reveal|decrypt)\(")
HOLDING = re.compile(r"\b(Secret|TokenResponse|Answer|Body)\b")
SPEAKING = ("accounts/", "headless/", "oauth/", "views/", "operations/import_tokens.py")

# They bind what a token says, and not the token.
CLAIMS = {"verify_id_token", "read_unverified_identity", "_find_signing_key"}
# They compare, keep or look, or read what is public; nothing in them can fail with more than a
# wrapped token at hand.
HARMLESS = {
    "oauth/endpoints.py": {"_read_scopes", "_read_token", "is_transient"},
    "oauth/published.py": {"_fetch_and_keep", "_read_keys", "_read_object"},
    "accounts/access_tokens.py": {"__init__"},
    "accounts/grants.py": {"_leave_to"},
}

# What is read from a cache, a row, a file, a session or a provider.
READING = {
    "accounts/access_tokens.py": {"check_grant", "read_row", "refresh_in_turn"},
    "accounts/refresh_turns.py": {"_refresh"},
    "accounts/ownership.py": {"reassign", "_seal_for"},
    "accounts/revocations.py": {"process_pending", "_revoke_grant"},
    "api_clients/google_auth.py": {"__call__", "_make_google_credentials", "request_access_token"},
    "api_clients/service_account_tokens.py": {
        "cached_service_token",
        "service_token",
        "_cache_token",
        "_read_cached_token",
        "_request_in_turn",
    },
    "conf/shared_call.py": {"_execute"},
    "contrib/aws_kms.py": {"wrap", "unwrap"},
    "contrib/google_kms.py": {"wrap", "unwrap"},
    "encryption/key.py": {"__init__", "_derive_bytes"},
    "encryption/keyring.py": {"reseal", "rewrap_keys", "unseal"},
    "encryption/wrapped_keys.py": {"_load_key", "unwrap_key", "wrap_key"},
    "http/connections.py": {"urlopen", "_send"},
    "http/pool.py": {"send_request"},
    "management/commands/google_link_authorize.py": {"link"},
    "oauth/transport.py": {"_encode_body", "_read_body", "_send_request", "_settle_answer"},
    "operations/import_sources.py": {"read", "_make_candidate", "_read_extra_data"},
    "operations/token_files.py": {
        "parse_credentials",
        "_decode",
        "_explain_no_base64",
        "_read_document",
        "_has_several",
        "_find_kind",
    },
    "views/linking.py": {"callback"},
    "views/pages.py": {"bounce"},
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def functions() -> list[tuple[str, Function]]:
    """Return all functions of the app, each with its file; the kit holds no real token."""
    paths = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))]
    return [
        (path.as_posix(), node)
        for path in paths
        if path.parts[0] not in {"migrations", "testing"}
        for node in ast.walk(ast.parse((PACKAGE / path).read_text()))
        if isinstance(node, Function)
    ]


def is_decorated(function: Function) -> bool:
    """Return whether reports leave out the locals of a function: all of them."""
    return "sensitive_variables()" in map(ast.unparse, function.decorator_list)


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """Yield what a function consists of, without the functions in it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, Function | ast.Lambda):
            yield node
            waiting.extend(ast.iter_child_nodes(node))


def binds_bare_token(function: Function) -> bool:
    """Return whether a local is made of what was revealed."""
    for node in own_nodes(function):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.NamedExpr | ast.AnnAssign | ast.For):
            targets = [node.target]
        value = node.iter if isinstance(node, ast.For) else getattr(node, "value", None)
        is_local = any(isinstance(target, ast.Name | ast.Subscript) for target in targets)
        if is_local and isinstance(value, ast.expr) and REVEALING.search(ast.unparse(value)):
            return True
    return False


def is_handed_token(function: Function) -> bool:
    """Return whether a parameter is a token, or holds one."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
    return any(
        HOLDING.search(ast.unparse(argument.annotation))
        for argument in every
        if argument.annotation
    )


@pytest.mark.slow
def test_functions_with_a_bare_token_are_left_out_of_reports() -> None:
    """A local that a secret was revealed into."""
    found = {(path, node.name): node for path, node in functions() if binds_bare_token(node)}
    shown = {name for name, node in found.items() if not is_decorated(node)}

    assert {name for _, name in shown} <= CLAIMS
    assert {
        ("views/linking.py", "_bounce_browser"),
        ("oauth/endpoints.py", "_redact_secrets"),
    } <= set(found)


def test_functions_that_are_handed_a_token_are_left_out_of_reports() -> None:
    """Wrapped or not."""
    handed = {
        (path, node.name): node
        for path, node in functions()
        if path.startswith(SPEAKING) and is_handed_token(node)
    }
    shown = {name for name, node in handed.items() if not is_decorated(node)}

    harmless = {(path, name) for path, names in HARMLESS.items() for name in names}
    assert {(path, name) for path, name in shown - harmless if name not in CLAIMS} == set()
    assert harmless <= shown  # or strike it off the list
    assert len(handed) > 30


@pytest.mark.parametrize("path", READING)
def test_functions_that_read_a_token_are_left_out_of_reports(path: str) -> None:
    """From wherever."""
    decorated = [is_decorated(node) for file, node in functions() if file == path]
    shown = {node.name for file, node in functions() if file == path and not is_decorated(node)}

    assert any(decorated)
    assert READING[path].isdisjoint(shown)
    assert {node.name for file, node in functions() if file == path} >= READING[path]
