"""Train or test a network that reads a story and answers a question about it (bAbI).

    python -m hebbian_snn.question_answering_task --task 1

Every one of the twenty tasks has a network of its own. The sentences of a story are written into
the memory one after the other, then the question is asked. The settings stand in
``hebbian_snn/settings/question_answering.yaml``; every one is a flag. ``--relu`` trains the twin
without spikes. The network with the best validation accuracy is kept as
``runs/hebbian_snn/babi_<task>_delay_<delay>/network.safetensors``; log and training state of the
last epoch lie beside it. The same command goes on with an interrupted training.
Training ends before its last epoch when every validation question has been answered for
``--stop_epochs`` epochs; ``--stop_score none`` trains on.
"""

import sys

from hebbian_snn.tasks.question_answering import QuestionAnsweringTask
from hebbian_snn.training.command import task_command

main = task_command(QuestionAnsweringTask, __doc__)

if __name__ == "__main__":
    sys.exit(main())
