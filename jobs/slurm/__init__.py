"""Each call a job of a SLURM array."""
