"""A Holdfast with very many repos that nobody made: its settings, an empty view to compare with, and `manage.py seed`.

    DJANGO_SETTINGS_MODULE=benchmarks.seeded.settings python manage.py seed --repos 100000

Beside the product and not in it: an operator has no use for repos that nobody made, and a command that makes them
does not belong where a slip of the hand could run it on a registry.
"""
