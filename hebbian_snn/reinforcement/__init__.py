"""Learning to play Concentration by proximal policy optimisation."""
