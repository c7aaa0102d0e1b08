"""The example, with access tokens that expire while a user looks at Google's page."""

from datetime import timedelta

from daybook.settings import *  # noqa: F403

SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(seconds=5)}
