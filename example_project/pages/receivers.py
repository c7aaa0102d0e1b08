"""What happens when something happens to a link."""

from typing import Any

from django.dispatch import receiver

from django_google_link.models import GoogleAccount
from django_google_link.signals import authorization_lost

LOST = """\
The link of {account} with Daybook does not work any more.

To use it here again, open Daybook and link it once more. If it was you who ended it at Google,
all is well.
"""


@receiver(authorization_lost)
def write_to_user(account: GoogleAccount, **kwargs: Any) -> None:
    """Tell the user, who may not come by for weeks."""
    account.user.email_user("Your Google account", LOST.format(account=account.display_name))
