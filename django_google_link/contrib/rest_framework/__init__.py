"""Django REST framework: permissions, an exception handler, and endpoints for front ends.

Needs the extra ``drf``. The endpoints are in ``urls``.
"""

from .permissions import (
    GoogleAuthorizationRequired,
    GoogleAware,
    GoogleRequired,
    exception_handler,
)

__all__ = ["GoogleAuthorizationRequired", "GoogleAware", "GoogleRequired", "exception_handler"]
