"""Training, testing and loading networks: what all tasks share."""
