"""Training a campaign as jobs of a Slurm cluster."""
