"""The list of an author is read in the order of its index: the newest come first, and nothing is sorted."""

import django.db.models.expressions
import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("registry", "0011_gate_what_was_made_of_gated_repos")]

    operations = [
        migrations.AddIndex(
            model_name="repo",
            index=models.Index(
                django.db.models.functions.text.Lower("namespace"),
                django.db.models.expressions.OrderBy(models.F("id"), descending=True),
                name="repo_namespace_newest",
            ),
        ),
        migrations.RemoveIndex(model_name="repo", name="repo_namespace"),
    ]
