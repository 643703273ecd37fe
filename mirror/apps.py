from django.apps import AppConfig


class MirrorConfig(AppConfig):
    name = "mirror"

    def ready(self) -> None:
        import mirror.tasks  # noqa: F401  # registers the handlers of its jobs
