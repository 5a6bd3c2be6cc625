"""As the original's: trains the contrastive network of Figure 4."""

import sys

from dasbe.train import main

if __name__ == "__main__":
    sys.exit(main(["shapes_contrastive", *sys.argv[1:]]))
