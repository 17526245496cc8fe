"""A campaign on disk: its paths, their checkpoints and records, the past that may not change, and what gc keeps.

Start with ``campaign.py`` and ``folders.py``. A checkpoint is in ``checkpoint.py``, the facts on a path in
``record.py``, ``lineage.py`` and ``standing.py``, and the past that may not change in ``past.py``. ``start_point.py``
chooses the checkpoint a path starts from; ``keep.py`` decides which checkpoints stay, ``removal.py`` deletes the rest.
"""
