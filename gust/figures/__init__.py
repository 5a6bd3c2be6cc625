"""Figures of GUST, one module each: ``compute`` measures, ``draw`` draws, ``main`` is a command."""
