"""The management commands that the documentation speaks of."""

from __future__ import annotations

from django.core.management import find_commands, get_commands

from tests.documentation.pages import ROOT

# The app's commands, by name, and the kit's, which is not an installed app of the tests.
COMMANDS = {
    **{name: app for name, app in get_commands().items() if app == "django_google_link"},
    **dict.fromkeys(
        find_commands(str(ROOT / "django_google_link" / "testing" / "management")),
        "django_google_link.testing",
    ),
}

# Of other apps, which are not installed apps of the tests either.
COMMANDS_OF_OTHERS = dict.fromkeys(["all_tenants_command", "tenant_command"], "django_tenants")
