"""Who asks whether a revision was looked up lately finds the newest job of a kind and key by an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("registry", "0006_bind_what_is_mirrored")]

    operations = [
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["kind", "key", "-id"], name="job_latest"),
        ),
    ]
