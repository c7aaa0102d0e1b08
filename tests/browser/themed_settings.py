"""The example with another theme for its admin, and an app whose ``admin.py`` the test has written.

The themes have scripts and styles inside of their pages, which the example's policy forbids.
"""

import os
import sys

from daybook.settings import *  # noqa: F403
from daybook.settings import DATA_DIR, INSTALLED_APPS, MIDDLEWARE

THEME = os.environ["ADMIN_THEME"]

sys.path.append(str(DATA_DIR))
MIDDLEWARE = [name for name in MIDDLEWARE if "ContentSecurityPolicy" not in name]
if THEME == "unfold":
    INSTALLED_APPS = ["unfold", *INSTALLED_APPS, "themed"]
elif THEME == "jazzmin":
    INSTALLED_APPS = ["jazzmin", *INSTALLED_APPS]
    JAZZMIN_SETTINGS = {"use_google_fonts_cdn": False}
    JAZZMIN_UI_TWEAKS = {"default_theme_mode": "auto"}
