"""What every trained network's checkpoint has besides its model and settings, for made-up ones."""

TRAINED = {
    "seed": 0,
    "data": {},
    "curve": [],
    "epochs": 1,
    "seconds": 1.0,
    "command": "python -m of.a.training",
}
