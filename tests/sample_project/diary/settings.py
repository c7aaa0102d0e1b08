"""Settings as a project has them. None of them leads to a Google that would know this site."""

SECRET_KEY = "of tests"
ALLOWED_HOSTS = ["testserver", "localhost"]
ROOT_URLCONF = "diary.urls"
LOGIN_URL = "/login/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django_google_link",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

GOOGLE_LINK = {
    "CLIENTS": {
        "default": {
            "CLIENT_ID": "of-production.apps.googleusercontent.com",
            "CLIENT_SECRET": "not in tests",
            "SCOPES": ["https://www.googleapis.com/auth/calendar.readonly"],
        }
    },
    "SERVICE_ACCOUNTS": {"reports": {"IMPERSONATE": "reports@diary.iam.gserviceaccount.com"}},
    "ENCRYPTION_KEYS": ["kY3hQ0yJmWc1V7r8b2NnDq5sTz4uXe9fAg6LiPoRwEI="],
}
