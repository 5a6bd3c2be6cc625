"""As the original's: python train_net.py bars (corner, shape, mnist_shape)."""

import sys

from dasbe.train import main

if __name__ == "__main__":
    sys.exit(main())
