"""The example, with a session cookie that no browser sends on the way from another site."""

from daybook.settings import *  # noqa: F403

SESSION_COOKIE_SAMESITE = "Strict"
