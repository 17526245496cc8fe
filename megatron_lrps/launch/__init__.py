"""Starting the training of paths, on this machine or on a Slurm cluster."""
