"""Generators and loaders of every data set of the four papers (no models in here)."""
