"""Checks of everything that runs on a GPU. They need torch, NumPy, Pillow and safetensors, and nothing else."""
