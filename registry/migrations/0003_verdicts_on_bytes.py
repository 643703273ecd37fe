"""Verdicts belong to bytes, no longer to artifacts alone; gates, overrides, readings and yardsticks.

Rows that are there say what their artifact said. Going back is possible while no verdict is on a file that was not made
here.
"""

import django.db.models.deletion
import django.db.models.functions.text
from django.db import migrations, models


def take_from_artifacts(apps, schema_editor):
    """Each verdict is on its artifact's blob, under its path, against the commit that it was made from."""
    validations = apps.get_model("registry", "Validation").objects
    artifact = apps.get_model("registry", "Artifact").objects.filter(pk=models.OuterRef("artifact"))
    validations.update(
        blob=models.Subquery(artifact.values("blob")[:1]),
        parent=models.Subquery(artifact.values("source")[:1]),
        path=models.Subquery(artifact.values("path")[:1]),
    )
    for row in validations.only("report").iterator():
        limits = row.report.get("limits") if isinstance(row.report, dict) else None
        if isinstance(limits, dict) and isinstance(limits.get("version"), int):
            validations.filter(pk=row.pk).update(limits_version=limits["version"])
    if schema_editor.connection.vendor == "postgresql":
        # Foreign keys are checked at the end of a transaction, and until then PostgreSQL lets nobody alter the table.
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0002_recipes_and_policies'),
    ]

    operations = [
        migrations.CreateModel(
            name='Gate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('repos', models.CharField(help_text='repo ids it is for, with * and ?, e.g. acme/* or *-GGUF', max_length=200)),
                ('publish', models.CharField(blank=True, help_text='verdicts that are published, e.g. verified,loads; empty: none', max_length=60)),
                ('pull', models.CharField(blank=True, help_text='verdicts that are pulled without being asked for; empty: none', max_length=60)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('changed_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'ordering': ['repos'],
            },
        ),
        migrations.CreateModel(
            name='Override',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('verdict', models.CharField(choices=[('verified', 'verified'), ('loads', 'loads'), ('partial', 'partial'), ('damaged', 'damaged'), ('unsupported', 'unsupported'), ('untested', 'untested')], max_length=12)),
                ('reason', models.TextField()),
                ('by', models.CharField(help_text='the operator who decided', max_length=150)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('withdrawn_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-created_at'],
            },
        ),
        migrations.CreateModel(
            name='Reading',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=64, unique=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='Yardstick',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.CharField(max_length=64, unique=True)),
                ('file_type', models.CharField(help_text='e.g. Q4_K_M', max_length=20)),
                ('converter', models.CharField(max_length=60)),
                ('engine', models.CharField(max_length=100)),
                ('limits_version', models.PositiveSmallIntegerField()),
                ('mean_kld', models.FloatField()),
                ('kld_error', models.FloatField(help_text='standard error of the mean')),
                ('figures', models.JSONField(help_text='everything that was measured of it')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.AddField(
            model_name='validation',
            name='blob',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='validations', to='registry.blob'),
        ),
        migrations.AddField(
            model_name='validation',
            name='limits_version',
            field=models.PositiveSmallIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='validation',
            name='parent',
            field=models.ForeignKey(blank=True, help_text='what it was compared with; empty where no parent was known', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='judged_by', to='registry.commit'),
        ),
        migrations.AddField(
            model_name='validation',
            name='path',
            field=models.CharField(default='', help_text='what the file was called when it was judged', max_length=1024),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='validation',
            name='report_blob',
            field=models.ForeignKey(blank=True, db_column='report_sha256', help_text='the report as canonical JSON; empty for rows of the first schema', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='reports', to='registry.blob', to_field='sha256'),
        ),
        migrations.RunPython(take_from_artifacts, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='validation',
            name='blob',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='validations', to='registry.blob'),
        ),
        migrations.AlterField(
            model_name='validation',
            name='artifact',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='validations', to='registry.artifact'),
        ),
        migrations.AlterField(
            model_name='validation',
            name='passed',
            field=models.BooleanField(help_text='whether the gate of the day let it through'),
        ),
        migrations.AddIndex(
            model_name='validation',
            index=models.Index(fields=['blob', '-created_at'], name='validation_newest_of_blob'),
        ),
        migrations.AddIndex(
            model_name='validation',
            index=models.Index(fields=['created_at'], name='validation_oldest'),
        ),
        migrations.AddConstraint(
            model_name='validation',
            constraint=models.CheckConstraint(condition=models.Q(('path', ''), _negated=True), name='validation_path_not_empty'),
        ),
        migrations.AddConstraint(
            model_name='validation',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('verdict', 'verified'), _negated=True), ('parent__isnull', False), _connector='OR'), name='validation_verified_has_parent'),
        ),
        migrations.AddConstraint(
            model_name='validation',
            constraint=models.CheckConstraint(condition=models.Q(('mean_kld__gte', 0), ('mean_kld__isnull', True), _connector='OR'), name='validation_mean_kld_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='validation',
            constraint=models.CheckConstraint(condition=models.Q(('perplexity_ratio__gte', 0), ('perplexity_ratio__isnull', True), _connector='OR'), name='validation_perplexity_ratio_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='validation',
            constraint=models.CheckConstraint(condition=models.Q(('top1_agreement__isnull', True), models.Q(('top1_agreement__gte', 0), ('top1_agreement__lte', 1)), _connector='OR'), name='validation_top1_agreement_is_a_share'),
        ),
        migrations.AddConstraint(
            model_name='gate',
            constraint=models.UniqueConstraint(django.db.models.functions.text.Lower('repos'), name='gate_once'),
        ),
        migrations.AddConstraint(
            model_name='gate',
            constraint=models.CheckConstraint(condition=models.Q(('repos', ''), _negated=True), name='gate_repos_not_empty'),
        ),
        migrations.AddConstraint(
            model_name='gate',
            constraint=models.CheckConstraint(condition=models.Q(('publish__regex', '^((verified|loads|partial|unsupported|untested)(,(verified|loads|partial|unsupported|untested))*)?$'), ('publish__isnull', True), _connector='OR'), name='gate_publish_pattern'),
        ),
        migrations.AddConstraint(
            model_name='gate',
            constraint=models.CheckConstraint(condition=models.Q(('pull__regex', '^((verified|loads|partial|unsupported|untested)(,(verified|loads|partial|unsupported|untested))*)?$'), ('pull__isnull', True), _connector='OR'), name='gate_pull_pattern'),
        ),
        migrations.AddField(
            model_name='override',
            name='blob',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='overrides', to='registry.blob'),
        ),
        migrations.AddField(
            model_name='reading',
            name='blob',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='readings', to='registry.blob'),
        ),
        migrations.AddField(
            model_name='reading',
            name='parent',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='readings', to='registry.commit'),
        ),
        migrations.AddField(
            model_name='yardstick',
            name='parent',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='yardsticks', to='registry.commit'),
        ),
        migrations.AddConstraint(
            model_name='override',
            constraint=models.CheckConstraint(condition=models.Q(('verdict__in', ['verified', 'loads', 'partial', 'damaged', 'unsupported', 'untested'])), name='override_verdict_known'),
        ),
        migrations.AddConstraint(
            model_name='override',
            constraint=models.CheckConstraint(condition=models.Q(('reason', ''), _negated=True), name='override_reason_not_empty'),
        ),
        migrations.AddConstraint(
            model_name='override',
            constraint=models.CheckConstraint(condition=models.Q(('by', ''), _negated=True), name='override_by_not_empty'),
        ),
        migrations.AddConstraint(
            model_name='override',
            constraint=models.UniqueConstraint(condition=models.Q(('withdrawn_at__isnull', True)), fields=('blob',), name='override_once_in_force'),
        ),
        migrations.AddConstraint(
            model_name='reading',
            constraint=models.CheckConstraint(condition=models.Q(('key__regex', '^[0-9a-f]{64}$'), ('key__isnull', True), _connector='OR'), name='reading_key_pattern'),
        ),
        migrations.AddConstraint(
            model_name='yardstick',
            constraint=models.CheckConstraint(condition=models.Q(('key__regex', '^[0-9a-f]{64}$'), ('key__isnull', True), _connector='OR'), name='yardstick_key_pattern'),
        ),
        migrations.AddConstraint(
            model_name='yardstick',
            constraint=models.CheckConstraint(condition=models.Q(('mean_kld__gte', 0), ('mean_kld__isnull', True), _connector='OR'), name='yardstick_mean_kld_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='yardstick',
            constraint=models.CheckConstraint(condition=models.Q(('kld_error__gte', 0), ('kld_error__isnull', True), _connector='OR'), name='yardstick_kld_error_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='yardstick',
            constraint=models.CheckConstraint(condition=models.Q(('file_type', ''), _negated=True), name='yardstick_file_type_not_empty'),
        ),
    ]
