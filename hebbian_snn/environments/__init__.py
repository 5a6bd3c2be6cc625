"""The card game: for one player (Gymnasium), and many games at once as tensors."""
