from conf import config

from snn_tha.run import run_dataset

if __name__ == "__main__":
    run_dataset("shd", config)
