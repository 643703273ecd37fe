from django.apps import AppConfig


class RegistryConfig(AppConfig):
    name = "registry"

    def ready(self) -> None:
        import registry.celery  # makes our Celery application the current one in every process
        import registry.checks
        import registry.tasks  # noqa: F401
