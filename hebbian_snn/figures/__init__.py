"""Figures of the Hebbian memory: ``compute`` measures, ``draw`` draws, ``main`` does both."""
