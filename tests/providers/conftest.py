"""Providers that run, and the table of what has become of each journey through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from pytest_django import Settings

from tests.providers.providers import KINDS, SERVERS, Provider, running
from tests.providers.table import lines_of_table
from tests.support.node import install

OUTCOMES = pytest.StashKey[dict[tuple[str, str], str]]()


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the npm registry has of them."""
    folder = install(SERVERS / "package.json", tmp_path_factory.mktemp("npm"))
    return folder / "node_modules"


@pytest.fixture(scope="session")
def find_provider(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Provider]]:
    """Return a function that starts a provider, where that has not been done yet."""
    with ExitStack() as stack:

        @cache
        def find(name: str) -> Provider:
            needs_node = KINDS[name].needs_node
            modules = request.getfixturevalue("node_modules") if needs_node else None
            folder = tmp_path_factory.mktemp("provider")
            return stack.enter_context(running(name, folder=folder, node_modules=modules))

        yield find


@pytest.fixture
def provider(
    find_provider: Callable[[str], Provider], name: str, settings: Settings, unknown_provider: None
) -> Provider:
    """The one that the settings point to."""
    found = find_provider(name)
    clients = {"default": found.client_settings}
    settings.GOOGLE_LINK = {**settings.GOOGLE_LINK, "CLIENTS": clients}
    return found


@pytest.fixture
def note_outcome(pytestconfig: pytest.Config) -> Callable[[str, str, str], None]:
    """Return a function that notes what has become of a journey."""
    outcomes = pytestconfig.stash.setdefault(OUTCOMES, {})

    def note(name: str, journey: str, outcome: str) -> None:
        outcomes[name, journey] = outcome

    return note


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table."""
    if outcomes := config.stash.get(OUTCOMES, {}):
        terminalreporter.section("providers")
        for line in lines_of_table(outcomes):
            terminalreporter.write_line(line)
