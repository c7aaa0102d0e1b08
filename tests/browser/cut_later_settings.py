"""The example, whose popups are cut off from its app when they come back from Google."""

from daybook.settings import *  # noqa: F403

APP_OPENER_POLICIES = dict.fromkeys(["/", "/linked/"], "same-origin-allow-popups")
