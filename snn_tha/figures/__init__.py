"""Figures and tables of SNN-THA."""
