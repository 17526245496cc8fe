"""Starting paths: on this machine, later on a cluster."""
