"""Run calls somewhere: in this process, on Ray, on SLURM. Knows nothing of video."""
