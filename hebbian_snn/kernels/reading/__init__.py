"""Reading the memory."""
