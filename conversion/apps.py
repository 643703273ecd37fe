from django.apps import AppConfig


class ConversionConfig(AppConfig):
    name = "conversion"

    def ready(self) -> None:
        import conversion.tasks  # noqa: F401  # registers the handlers of its jobs
