"""A registry that is written to and pulled through: uploads, pull requests, former names, bindings.

A file may now be known before its bytes are held, so the sha256 of an LFS object moves into its own row. Going back is
possible while every file is held.
"""

import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


def take_from_blobs(apps, schema_editor):
    """Each LFS file says which bytes it means by itself."""
    blob = apps.get_model("registry", "Blob").objects.filter(pk=models.OuterRef("blob"))
    files = apps.get_model("registry", "File").objects.filter(is_lfs=True)
    files.update(lfs_sha256=models.Subquery(blob.values("sha256")[:1]))


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0003_verdicts_on_bytes'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Binding',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('repo_type', models.CharField(max_length=10)),
                ('repo_id', models.CharField(max_length=200)),
                ('upstream_object_id', models.CharField(blank=True, help_text="upstream's own id of the repo", max_length=100)),
                ('owner', models.CharField(blank=True, help_text='as upstream named it when we first asked', max_length=200)),
                ('state', models.CharField(choices=[('bound', 'bound'), ('held', 'held for review')], default='bound', max_length=10)),
                ('reason', models.CharField(blank=True, help_text='why it is held', max_length=500)),
                ('bound_at', models.DateTimeField(auto_now_add=True)),
                ('asked_at', models.DateTimeField(blank=True, help_text='when upstream was last asked what it has', null=True)),
            ],
        ),
        migrations.CreateModel(
            name='FormerName',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('repo_type', models.CharField(choices=[('model', 'model'), ('dataset', 'dataset')], max_length=10)),
                ('old_repo_id', models.CharField(max_length=200)),
                ('moved_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='PullRequest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('title', models.CharField(max_length=500)),
                ('description', models.TextField(blank=True)),
                ('base', models.CharField(default='main', help_text='the branch it is offered to', max_length=250)),
                ('status', models.CharField(choices=[('draft', 'draft'), ('open', 'open'), ('closed', 'closed'), ('merged', 'merged')], default='open', max_length=10)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('closed_at', models.DateTimeField(blank=True, null=True)),
                ('merge_commit', models.CharField(blank=True, max_length=40)),
            ],
        ),
        migrations.CreateModel(
            name='Upload',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sha256', models.CharField(max_length=64)),
                ('size_bytes', models.BigIntegerField()),
                ('parts', models.JSONField(default=dict, help_text='how a multipart upload is staged, while it is under way')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('touched_at', models.DateTimeField(auto_now=True, db_index=True)),
            ],
        ),
        migrations.RemoveConstraint(
            model_name='job',
            name='job_kind_known',
        ),
        migrations.RemoveConstraint(
            model_name='ref',
            name='ref_kind_known',
        ),
        migrations.AddField(
            model_name='commit',
            name='git_object',
            field=models.BinaryField(blank=True, help_text="git's commit object, whose sha1 is the commit hash, where we know it", null=True),
        ),
        migrations.AddField(
            model_name='commit',
            name='is_complete',
            field=models.BooleanField(default=True, help_text='every file is held; inspected and converted only then'),
        ),
        migrations.AddField(
            model_name='file',
            name='lfs_sha256',
            field=models.CharField(blank=True, help_text="of an LFS object's bytes", max_length=64, null=True),
        ),
        migrations.AddField(
            model_name='organisation',
            name='person',
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='own_namespace', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='upstream',
            name='answered_at',
            field=models.DateTimeField(blank=True, help_text='when it last gave a good answer', null=True),
        ),
        migrations.AddField(
            model_name='upstream',
            name='next_request_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='upstream',
            name='paused_until',
            field=models.DateTimeField(blank=True, help_text='it said 429: nobody asks before', null=True),
        ),
        migrations.AddField(
            model_name='upstream',
            name='requests_per_second',
            field=models.FloatField(blank=True, help_text='null: as fast as it goes', null=True),
        ),
        migrations.AddField(
            model_name='upstream',
            name='sealed_token',
            field=models.TextField(blank=True, help_text="the access token, encrypted with the service's secret key"),
        ),
        migrations.AddField(
            model_name='upstream',
            name='trouble',
            field=models.CharField(blank=True, max_length=500),
        ),
        migrations.AddField(
            model_name='upstream',
            name='trouble_at',
            field=models.DateTimeField(blank=True, help_text='when it last did not', null=True),
        ),
        migrations.AlterField(
            model_name='file',
            name='blob',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='files', to='registry.blob'),
        ),
        migrations.AlterField(
            model_name='ref',
            name='kind',
            field=models.CharField(choices=[('branch', 'branch'), ('tag', 'tag'), ('pr', 'pull request')], max_length=10),
        ),
        migrations.RunPython(take_from_blobs, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name='file',
            constraint=models.CheckConstraint(condition=models.Q(('lfs_sha256__regex', '^[0-9a-f]{64}$'), ('lfs_sha256__isnull', True), _connector='OR'), name='file_lfs_sha256_pattern'),
        ),
        migrations.AddConstraint(
            model_name='file',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('is_lfs', True), ('lfs_sha256__isnull', False)), models.Q(('is_lfs', False), ('lfs_sha256__isnull', True)), _connector='OR'), name='file_lfs_has_sha256'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['mirror', 'lookup', 'fetch', 'verify', 'inspect', 'convert', 'validate', 'reproduce', 'rebuild'])), name='job_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='ref',
            constraint=models.CheckConstraint(condition=models.Q(('kind__in', ['branch', 'tag', 'pr'])), name='ref_kind_known'),
        ),
        migrations.AddConstraint(
            model_name='upstream',
            constraint=models.CheckConstraint(condition=models.Q(('requests_per_second__gte', 0), ('requests_per_second__isnull', True), _connector='OR'), name='upstream_requests_per_second_not_negative'),
        ),
        migrations.AddField(
            model_name='binding',
            name='upstream',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='bindings', to='registry.upstream'),
        ),
        migrations.AddField(
            model_name='formername',
            name='repo',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='former_names', to='registry.repo'),
        ),
        migrations.AddField(
            model_name='pullrequest',
            name='author',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='pullrequest',
            name='repo',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='pull_requests', to='registry.repo'),
        ),
        migrations.AddField(
            model_name='upload',
            name='blob',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='uploads', to='registry.blob'),
        ),
        migrations.AddField(
            model_name='upload',
            name='created_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='upload',
            name='repo',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='uploads', to='registry.repo'),
        ),
        migrations.AddConstraint(
            model_name='binding',
            constraint=models.UniqueConstraint(django.db.models.functions.text.Lower('repo_id'), models.F('repo_type'), name='binding_once'),
        ),
        migrations.AddConstraint(
            model_name='binding',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['bound', 'held'])), name='binding_state_known'),
        ),
        migrations.AddConstraint(
            model_name='formername',
            constraint=models.UniqueConstraint(django.db.models.functions.text.Lower('old_repo_id'), models.F('repo_type'), name='former_name_once'),
        ),
        migrations.AddConstraint(
            model_name='pullrequest',
            constraint=models.UniqueConstraint(fields=('repo', 'number'), name='pull_request_once'),
        ),
        migrations.AddConstraint(
            model_name='pullrequest',
            constraint=models.CheckConstraint(condition=models.Q(('status__in', ['draft', 'open', 'closed', 'merged'])), name='pullrequest_status_known'),
        ),
        migrations.AddConstraint(
            model_name='upload',
            constraint=models.UniqueConstraint(fields=('repo', 'sha256'), name='upload_once'),
        ),
        migrations.AddConstraint(
            model_name='upload',
            constraint=models.CheckConstraint(condition=models.Q(('sha256__regex', '^[0-9a-f]{64}$'), ('sha256__isnull', True), _connector='OR'), name='upload_sha256_pattern'),
        ),
        migrations.AddConstraint(
            model_name='upload',
            constraint=models.CheckConstraint(condition=models.Q(('size_bytes__gte', 0), ('size_bytes__isnull', True), _connector='OR'), name='upload_size_bytes_not_negative'),
        ),
    ]
