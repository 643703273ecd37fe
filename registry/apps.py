from django.apps import AppConfig


class RegistryConfig(AppConfig):
    name = "registry"

    def ready(self) -> None:
        import registry.celery
        import registry.tasks  # noqa: F401  # makes the Celery application the current one in every process
