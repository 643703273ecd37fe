"""Lists of repos take as long with a hundred thousand as with a thousand.

PostgreSQL finds parts of names by an index of their trigrams. The function that cuts them is ours, because the
extension pg_trgm is not on every server. Tags and cards are indexed in lower case, as filters compare them.
"""

import django.db.models.functions.comparison
import django.db.models.functions.text
from django.db import migrations, models

POSTGRESQL = [
    (
        """CREATE FUNCTION holdfast_trigrams(words text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
        SELECT array_agg(DISTINCT substr(lower(words), at, 3)) FROM generate_series(1, length(words) - 2) AS at $$""",
        "DROP FUNCTION holdfast_trigrams(text)",
    ),
    (
        "CREATE INDEX repo_trigrams ON registry_repo USING gin (holdfast_trigrams(repo_id))",
        "DROP INDEX repo_trigrams",
    ),
    (
        "CREATE INDEX commit_tags ON registry_commit USING gin ((lower(tags::text)::jsonb) jsonb_path_ops)",
        "DROP INDEX commit_tags",
    ),
    (
        "CREATE INDEX commit_card ON registry_commit USING gin ((lower(card_data::text)::jsonb) jsonb_path_ops)",
        "DROP INDEX commit_card",
    ),
]


def add(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for statement, _ in POSTGRESQL:
            schema_editor.execute(statement)


def remove(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for _, statement in reversed(POSTGRESQL):
            schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("registry", "0008_the_commit_as_git_gets_it")]

    operations = [
        migrations.AddIndex(
            model_name="repo", index=models.Index(fields=["created_at", "id"], name="repo_created")
        ),
        migrations.AddIndex(
            model_name="commit",
            index=models.Index(
                django.db.models.expressions.OrderBy(
                    django.db.models.functions.comparison.Coalesce("committed_at", "recorded_at"), descending=True
                ),
                name="commit_modified",
            ),
        ),
        migrations.AddIndex(
            model_name="commit", index=models.Index(fields=["pipeline_tag"], name="commit_pipeline_tag")
        ),
        migrations.AddIndex(
            model_name="commit", index=models.Index(fields=["library_name"], name="commit_library_name")
        ),
        migrations.AddIndex(
            model_name="commit", index=models.Index(fields=["parameter_count"], name="commit_parameter_count")
        ),
        migrations.AddIndex(
            model_name="commit",
            index=models.Index(django.db.models.functions.text.Upper("license"), name="commit_license"),
        ),
        migrations.RunPython(add, remove),
    ]
