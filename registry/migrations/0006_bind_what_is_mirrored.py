"""Names that were mirrored before there were bindings belong to the upstream that they came from."""

from django.db import migrations


def bind_mirrored_repos(apps, schema_editor):
    Binding, Repo = apps.get_model("registry", "Binding"), apps.get_model("registry", "Repo")
    mirrored = Repo.objects.filter(upstream__isnull=False).order_by("pk")
    rows = (
        Binding(
            repo_type=repo.repo_type, repo_id=repo.repo_id, upstream_id=repo.upstream_id,
            upstream_repo_id=repo.upstream_repo_id,
        )
        for repo in mirrored.iterator()
    )
    Binding.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("registry", "0005_upstreams_remember_more")]

    # Back: a binding does no harm to a version that does not know it.
    operations = [migrations.RunPython(bind_mirrored_repos, migrations.RunPython.noop)]
