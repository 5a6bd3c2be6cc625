"""Writing the memory."""
