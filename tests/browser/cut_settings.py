"""The example, whose app is cut off from its popups by a Cross-Origin-Opener-Policy."""

from daybook.settings import *  # noqa: F403

APP_OPENER_POLICIES = {"/": "same-origin", "/linked/": "same-origin"}
