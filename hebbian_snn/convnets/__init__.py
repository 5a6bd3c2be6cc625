"""Convolutional networks in front of a memory, and what they are pretrained on."""
