"""Fast paths against direct implementations, timed in one run."""
