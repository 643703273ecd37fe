"""What was made here of a gated repo is gated as that is: its weights are the same in another form."""

from django.db import migrations, models


def gate(apps, schema_editor):
    edges = apps.get_model("registry", "Lineage").objects.filter(child=models.OuterRef("pk"), evidence="made_here")
    gating = edges.exclude(parent__gated="").exclude(parent=None).values("parent__gated")[:1]
    repos = apps.get_model("registry", "Repo").objects.filter(gated="", upstream=None)
    repos.filter(models.Exists(edges.exclude(parent__gated="").exclude(parent=None))).update(
        gated=models.Subquery(gating)
    )


class Migration(migrations.Migration):
    dependencies = [("registry", "0010_an_upload_for_each_who_brings_it")]

    operations = [migrations.RunPython(gate, migrations.RunPython.noop)]
