"""The tasks: each file has the settings, the data, the network and the task."""
