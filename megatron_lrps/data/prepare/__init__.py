"""`lrps prepare`. In: a plan and raw text. Out: an index for each of the plan's ``sources``, and the plan's tokenizer.

``find`` lists the files, ``shards`` cuts them, ``workers`` run ``encode`` on each shard (``documents`` reads the text,
``encoders`` give the ids), and ``job`` joins the shards to an index with its record (``prepared_record``).
"""
