"""Neurons without connections among them."""
