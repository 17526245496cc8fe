"""A campaign on disk: its paths, their checkpoints and records, what may not change, what stays.

Start with ``campaign.py`` and ``folders.py``. A checkpoint is in ``checkpoint.py``, what is known of a path in
``record.py``, ``lineage.py`` and ``standing.py``, and what may not change in ``past.py``. ``start_point.py`` says which
checkpoint a path starts from, ``keep.py`` and ``removal.py`` which checkpoints stay and how the others go.
"""
