"""Receivers of the app's signals."""

from typing import Any

from django.dispatch import receiver

from django_google_link.models import GoogleAccount
from django_google_link.signals import authorization_lost

LOST = """\
The link between {account} and Daybook no longer works.

To keep using it, open Daybook and link the account again. If you have revoked the access at Google
yourself, there is nothing to do.
"""


@receiver(authorization_lost)
def write_to_user(account: GoogleAccount, **kwargs: Any) -> None:
    """Write to the user, who may not visit the site for weeks."""
    account.user.email_user("Your Google account", LOST.format(account=account.display_name))
