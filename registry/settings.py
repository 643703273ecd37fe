"""Every setting, from the environment. docs/operate.md lists them; a test fails when one is missing there."""

from pathlib import Path

import dj_database_url

from registry.environment import (
    read_bool,
    read_choice,
    read_float,
    read_int,
    read_list,
    read_rates,
    read_secret,
    read_text,
)

BASE_DIR = Path(__file__).resolve().parent.parent

# --- where things are kept -------------------------------------------------------------------------------

DATA = Path(read_text("HOLDFAST_DATA", str(BASE_DIR / ".holdfast"))).resolve()
DATA.mkdir(parents=True, exist_ok=True)

DATABASE_URL = read_text("DATABASE_URL", f"sqlite:///{DATA}/holdfast.sqlite3")
DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=600, conn_health_checks=True)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Readers never wait for the writer (WAL), and a transaction that will write takes its lock at once:
    # a deferred lock upgrade fails with "database is locked" however long the timeout is.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=30000;",
    }
    DATABASES["default"]["CONN_MAX_AGE"] = 0

if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    DATABASES["default"]["ENGINE"] = "registry.postgresql"
    if read_bool("HOLDFAST_PREPARED_STATEMENTS", True):  # else psycopg keeps none, whatever a cursor asks
        DATABASES["default"].setdefault("OPTIONS", {})["prepare_threshold"] = 1

HOLDFAST_BLOBS = read_text("HOLDFAST_BLOBS", (DATA / "store").as_uri())
HOLDFAST_BLOB_DELIVERY = read_choice(
    "HOLDFAST_BLOB_DELIVERY", "auto", {"auto", "inline", "redirect", "xaccel"}
)
HOLDFAST_PRESIGN_SECONDS = read_int("HOLDFAST_PRESIGN_SECONDS", 3600, least=60)

# --- uploads ----------------------------------------------------------------------------------------------

HOLDFAST_REGULAR_UPLOAD_BYTES = read_int("HOLDFAST_REGULAR_UPLOAD_BYTES", 64_000_000)
HOLDFAST_UPLOAD_PART_BYTES = read_int("HOLDFAST_UPLOAD_PART_BYTES", 64 << 20, least=5 << 20)

# --- upstreams --------------------------------------------------------------------------------------------

HOLDFAST_UPSTREAM_ALLOW = read_list("HOLDFAST_UPSTREAM_ALLOW")
HOLDFAST_HUB_ENDPOINT = read_text("HOLDFAST_HUB_ENDPOINT", "https://huggingface.co")
HOLDFAST_UPSTREAM_TOKENS = read_list("HOLDFAST_UPSTREAM_TOKENS")  # host[:port]=token, …
HF_TOKEN = read_text("HF_TOKEN", "")  # the token for HOLDFAST_HUB_ENDPOINT's host only
HOLDFAST_PULL_THROUGH = read_list("HOLDFAST_PULL_THROUGH")  # hf://, hf+https://host[:port]; in this order
HOLDFAST_PULL_THROUGH_ALLOW = read_list("HOLDFAST_PULL_THROUGH_ALLOW", "*")  # patterns of repo ids
HOLDFAST_PULL_THROUGH_FRESH_SECONDS = read_float("HOLDFAST_PULL_THROUGH_FRESH_SECONDS", 60)
HOLDFAST_PULL_THROUGH_WHOLE = read_bool("HOLDFAST_PULL_THROUGH_WHOLE", False)  # one file asked for: bring all
HOLDFAST_PULL_THROUGH_FETCHES = read_int("HOLDFAST_PULL_THROUGH_FETCHES", 4)  # files at once, per web process
HOLDFAST_PULL_THROUGH_WAITING = read_int(
    "HOLDFAST_PULL_THROUGH_WAITING", 28, least=1
)  # requests, per web process
HOLDFAST_FILES_IN_PARALLEL = read_int("HOLDFAST_FILES_IN_PARALLEL", 4, least=1)

# --- work -------------------------------------------------------------------------------------------------

HOLDFAST_HEARTBEAT_SECONDS = read_float("HOLDFAST_HEARTBEAT_SECONDS", 10)
HOLDFAST_LEASE_SECONDS = read_float("HOLDFAST_LEASE_SECONDS", 3 * HOLDFAST_HEARTBEAT_SECONDS)
HOLDFAST_SLICE_SECONDS = read_float("HOLDFAST_SLICE_SECONDS", 15 * 60)
HOLDFAST_SWEEP_SECONDS = read_float("HOLDFAST_SWEEP_SECONDS", HOLDFAST_HEARTBEAT_SECONDS)
HOLDFAST_MAX_ATTEMPTS = read_int("HOLDFAST_MAX_ATTEMPTS", 5, least=1)
HOLDFAST_WARM_KERNELS = read_list("HOLDFAST_WARM_KERNELS", "Q4_K,Q5_K,Q6_K,Q8_0")
HOLDFAST_REFERENCE_ENGINE = read_choice("HOLDFAST_REFERENCE_ENGINE", "auto", {"auto", "llama.cpp"})
HOLDFAST_AUTO_CONVERT = read_list("HOLDFAST_AUTO_CONVERT")  # recipes every new commit gets, e.g. Q8_0,Q4_0
HOLDFAST_ENGINE_THREADS = read_int("HOLDFAST_ENGINE_THREADS", 1, least=1)
HOLDFAST_ENGINE_MEMORY_BYTES = read_int("HOLDFAST_ENGINE_MEMORY_BYTES", 0, least=0)  # 0: most of what is free
HOLDFAST_VALIDATE_MIRRORED = read_choice("HOLDFAST_VALIDATE_MIRRORED", "base", {"no", "base", "all"})
HOLDFAST_REVALIDATE_DAYS = read_int("HOLDFAST_REVALIDATE_DAYS", 180, least=0)  # 0: never by itself

# --- the playground ---------------------------------------------------------------------------------------

HOLDFAST_PLAYGROUND_AT_ONCE = read_int("HOLDFAST_PLAYGROUND_AT_ONCE", 1, least=0)  # 0: there is none
HOLDFAST_PLAYGROUND_TOKENS = read_int("HOLDFAST_PLAYGROUND_TOKENS", 256, least=1)
HOLDFAST_PLAYGROUND_SECONDS = read_float("HOLDFAST_PLAYGROUND_SECONDS", 60)

BROKER_URL = read_text("HOLDFAST_BROKER", "filesystem://")
_TRANSPORT_OPTIONS: dict[str, object] = {"visibility_timeout": 12 * 3600}
if BROKER_URL.startswith("filesystem:"):
    queue = DATA / "queue"
    for folder in ("messages", "processed", "control"):
        (queue / folder).mkdir(parents=True, exist_ok=True)
    _TRANSPORT_OPTIONS = {
        "data_folder_in": str(queue / "messages"),
        "data_folder_out": str(queue / "messages"),
        "processed_folder": str(queue / "processed"),
        "control_folder": str(queue / "control"),
        "store_processed": False,
        "polling_interval": 0.2,
    }
else:
    _TRANSPORT_OPTIONS |= {"socket_keepalive": True, "health_check_interval": 30, "retry_on_timeout": True}

# Why each of these: docs/decisions/0004-celery-is-only-a-nudge.md.
CELERY = {
    "broker_url": BROKER_URL,
    "broker_transport_options": _TRANSPORT_OPTIONS,
    "broker_connection_retry_on_startup": True,
    "task_default_queue": "light",
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_soft_time_limit": HOLDFAST_SLICE_SECONDS + 120,
    "task_time_limit": HOLDFAST_SLICE_SECONDS * 1.2 + 180,
    "worker_prefetch_multiplier": 1,
    "worker_max_tasks_per_child": 50,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "worker_soft_shutdown_timeout": 60,
    "worker_hijack_root_logger": False,
    "beat_schedule": {"sweep": {"task": "registry.sweep", "schedule": HOLDFAST_SWEEP_SECONDS}},
    "beat_schedule_filename": str(DATA / "beat-schedule"),
    "timezone": "UTC",
}

# --- the web ----------------------------------------------------------------------------------------------

DEBUG = read_bool("HOLDFAST_DEBUG", False)
SECRET_KEY = read_secret("HOLDFAST_SECRET_KEY", DATA / "secret-key")
SECRET_KEY_FALLBACKS = read_list("HOLDFAST_SECRET_KEY_FALLBACKS")  # older keys: they open, they do not seal
ALLOWED_HOSTS = read_list("HOLDFAST_ALLOWED_HOSTS", "*")
CSRF_TRUSTED_ORIGINS = read_list("HOLDFAST_TRUSTED_ORIGINS")
HTTPS = read_bool("HOLDFAST_HTTPS", False)
if HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
HOLDFAST_PROXIES = read_int("HOLDFAST_PROXIES", 0)  # in front of us, each adding to X-Forwarded-For
HOLDFAST_RATE_LIMITS = read_rates(
    "HOLDFAST_RATE_LIMITS",
    {
        "api": (6000, 300),
        "resolvers": (60000, 300),
        "pages": (3000, 300),
        "sign_in": (20, 300),
        "tokens": (100, 300),
    },
)
HOLDFAST_RATE_LIMIT_STORE = read_text(
    "HOLDFAST_RATE_LIMIT_STORE", BROKER_URL if BROKER_URL.startswith("redis") else "memory://"
)
SECURE_CONTENT_TYPE_NOSNIFF = True
# Strangers learn nothing, but "no-referrer" would make browsers send `Origin: null`, and every form be refused.
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
APPEND_SLASH = False

INSTALLED_APPS = [
    "registry",
    "mirror",
    "conversion",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "registry.middleware.content_security_policy",
    "registry.rate_limits.limit_rates",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "registry.urls"
WSGI_APPLICATION = "registry.wsgi.application"
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
            ],
        },
    },
]
STATIC_URL = "/static/"
STATIC_ROOT = DATA / "static"
STATIC_ROOT.mkdir(exist_ok=True)  # whitenoise warns of a folder that is not there
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
LOGIN_URL = "/account/sign-in"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": read_text("HOLDFAST_LOG_LEVEL", "INFO")},
    "loggers": {
        # A line per nudge is noise: what matters of a job is in its row and in what we log ourselves.
        "celery": {"level": "WARNING"},
        "kombu": {"level": "ERROR"},
    },
}
