"""The Celery application: a nudge and nothing more. The truth about work is registry/models/job.py."""

import os

from celery import Celery
from celery.signals import setup_logging
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry.settings")

TRANSPORT_ALIASES["filesystem"] = "registry.folder_broker:Transport"  # why: see there

app = Celery("holdfast")


@app.on_configure.connect
def _configure(sender: Celery, **_: object) -> None:
    from django.conf import settings

    sender.conf.update(settings.CELERY)


app.autodiscover_tasks(["registry", "mirror", "conversion"])


@setup_logging.connect
def _keep_django_logging(**_: object) -> None:
    """Django's LOGGING stays in force; connecting here is how Celery is told so."""
