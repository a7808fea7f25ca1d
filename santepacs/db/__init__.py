"""All SQL of the house, and nothing else."""
