"""GUST: grouping by synchrony that emerges from training on images of several objects.

Zheng, Lin, Zhao, *Combinatorial generalization by unsupervised grouping with neuronal coherence*,
NeurIPS 2023.
"""
