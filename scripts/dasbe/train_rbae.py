"""As the original's: trains the recurrent network of Figure 5."""

import sys

from dasbe.train import main

if __name__ == "__main__":
    sys.exit(main(["moving_shapes", *sys.argv[1:]]))
