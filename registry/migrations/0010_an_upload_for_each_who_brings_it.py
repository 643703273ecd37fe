"""One upload of an object for each who brings it: what one has proven to have, another has not."""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0009_find_repos_by_index'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='upload',
            name='upload_once',
        ),
        migrations.AddConstraint(
            model_name='upload',
            constraint=models.UniqueConstraint(fields=('repo', 'sha256', 'created_by'), name='upload_once'),
        ),
    ]
