"""Applying the commands of a send stream inside a subvolume, and nowhere else."""
