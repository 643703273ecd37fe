"""Everything that can be asked for models: a hub, a plain tree of files, a bucket of ours, an exported bundle.

`source.py` says what each offers; `opening.py` makes one out of an address.
"""
