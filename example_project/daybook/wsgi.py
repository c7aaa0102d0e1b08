"""The WSGI application, for ``runserver`` and any real server."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "daybook.settings")

application = get_wsgi_application()
