"""dasbe.train, as a script, with a pause after every epoch: seconds, then its flags."""

import sys
import time

from common import learner
from dasbe import train

if __name__ == "__main__":
    pause, *flags = sys.argv[1:]
    save = learner.save_training_state

    def saved(path, state):
        save(path, state)
        time.sleep(float(pause))

    learner.save_training_state = saved
    sys.exit(train.main(flags))
