"""As the original's: trains the network of multi_mnist."""

import sys

from dasbe.train import main

if __name__ == "__main__":
    sys.exit(main(["multi_mnist", *sys.argv[1:]]))
