#!/usr/bin/env bash
# Types what users of the four papers' own repositories type, and what this README says, in a fresh
# clone and at the smallest size, and looks for the files that are promised.
#   tests/original_readmes.sh          a few lines, less than a minute
#   tests/original_readmes.sh --all    every line
# Only what is committed is tried. PYTHON is the interpreter (default: .venv/bin/python here).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PYTHON="${PYTHON:-$root/.venv/bin/python}"
all="${1:-}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
git clone --quiet --depth 1 "file://$root" "$work/clone"
clone="$work/clone"
export PYTHON PYTHONPATH="$clone" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
unset SNN_DATA
mkdir -p "$work/bin"
printf '#!/bin/sh\nexec "%s" "$@"\n' "$PYTHON" >"$work/bin/python"
chmod +x "$work/bin/python"
export PATH="$work/bin:$PATH"

run() { # FOLDER LINE...: the line must end with status 0
    local folder="$1"
    shift
    echo "$folder\$ $*"
    (cd "$clone/$folder" && "$@") >"$work/output" 2>&1 </dev/null || {
        echo "FAILED with status $?: $*"
        tail -n 15 "$work/output"
        exit 1
    }
}
made() { # FILE...: the files must be there now
    local file
    for file in "$@"; do
        [[ -s "$clone/$file" ]] || { echo "MISSING: $file"; exit 1; }
    done
}
refused() { # FOLDER LINE...: the line must end with an error in one line
    local folder="$1"
    shift
    echo "$folder\$ $*    (refused)"
    if (cd "$clone/$folder" && "$@") >"$work/output" 2>"$work/errors" </dev/null; then
        echo "NOT REFUSED: $*"
        exit 1
    fi
    [[ "$(grep -c . "$work/errors")" == 1 ]] || { cat "$work/errors"; exit 1; }
}

memory="--memory_size 4 --embedding_size 4 --epochs 1 --batch_size 4 --backend reference"
pairs="--training_size 8 --validation_size 4 --test_size 4 --num_time_steps 4 $memory"
runs=runs/hebbian_snn

# ---- Hebbian memory --------------------------------------------------------------------------

run hebbian_snn python memorizing_associations_task.py --sequence_length 2 --num_classes 2 $pairs
net="$runs/associations_2/network.safetensors"
made "$net"
run hebbian_snn python memorizing_associations_task.py --resume="../$net" --evaluate \
    --sequence_length 2 --num_classes 2 $pairs
refused hebbian_snn python memorizing_associations_task.py --sequence_lenght 5
refused hebbian_snn python memorizing_associations_task.py --resume="../$net" --evaluate \
    --sequence_length 2 --num_classes 2 $pairs --memory_size 5

# ---- SNN-THA, DASBE --------------------------------------------------------------------------

images="--data embedded --train_samples 20 --test_samples 10 --steps 3 --test_steps 3"
run snn_tha/mnist python run.py --epochs 1 --batch_size 10 --backend reference $images
made runs/snn_tha/mnist_embedded/network.safetensors results/snn_tha_runs/mnist_embedded{,_t0,_log}.csv
run scripts/dasbe python train_net.py bars --epochs 1 --steps_per_epoch 1
made runs/dasbe/bars/network.safetensors
small="--epochs 1 --images 40 --batch_size 20 --score_images 2 --backend reference"

if [[ "$all" == --all ]]; then
    run hebbian_snn python plot_memorizing_associations_task.py --checkpoint_path="../$net" \
        --sequence_length 2 --num_classes 2
    made results/hebbian_associations_activity/{record.json,figure.png}

    # ---- Hebbian memory: the other tasks, the networks without spikes, several processes ---------
    run hebbian_snn python memorizing_associations_task_relu.py --sequence_length 2 \
        --num_classes 3 $pairs
    net="$runs/associations_relu_2_of_3/network.safetensors"
    made "$net"
    run hebbian_snn python plot_memorizing_associations_task_relu.py --checkpoint_path="../$net"
    made results/hebbian_associations_activity_relu/figure.png
    run hebbian_snn python memorizing_associations_task.py --sequence_length 3 --num_classes 3 \
        $pairs --dist_url tcp://127.0.0.1:29541 --dist_backend gloo --multiprocessing_distributed \
        --world_size 1 --rank 0
    made "$runs/associations_3/network.safetensors"

    cnn="--channels 2 --num_time_steps 4 --validation_size 4 --test_size 4 --learn_if_thresholds 0"
    cnn="$cnn --use_pretrained_protonet 0 --data embedded $memory"
    omniglot="$cnn --iterations 1 --if_thresholds .1 .1 .1 .1"
    run hebbian_snn python omniglot_one_shot_task.py $omniglot
    net="$runs/omniglot_embedded/network.safetensors"
    run hebbian_snn python omniglot_one_shot_task.py --resume="../$net" --evaluate $omniglot
    run hebbian_snn python plot_omniglot_one_shot_task.py --checkpoint_path="../$net"
    made results/hebbian_omniglot_activity/figure.png
    run hebbian_snn python omniglot_one_shot_task_relu.py $omniglot
    net="$runs/omniglot_relu_embedded/network.safetensors"
    run hebbian_snn python plot_omniglot_one_shot_task_relu.py --checkpoint_path="../$net"
    made results/hebbian_omniglot_activity_relu/figure.png
    cross="$cnn --dataset_size 4 --image_if_thresholds .1 .1 .1 .1"
    cross="$cross --audio_if_thresholds .1 .1 .1 .1"
    run hebbian_snn python cross_modal_associations_task.py $cross
    net="$runs/cross_modal_embedded/network.safetensors"
    run hebbian_snn python cross_modal_associations_task.py --resume="../$net" --evaluate $cross
    run hebbian_snn python plot_cross_modal_associations_task.py --checkpoint_path="../$net"
    made results/hebbian_cross_modal_activity/figure.png
    run hebbian_snn python cross_modal_associations_task_relu.py $cross
    net="$runs/cross_modal_relu_embedded/network.safetensors"
    run hebbian_snn python plot_cross_modal_associations_task_relu.py --checkpoint_path="../$net"
    made results/hebbian_cross_modal_activity_relu/figure.png

    stories="--data embedded --ten_k 0 --max_num_sentences 2 --sentence_duration 4 $memory"
    for delay in 30 1; do
        task="--task 1 --readout_delay $delay $stories --batch_size 256"
        run hebbian_snn python question_answering_task.py $task
        net="$runs/babi_1_1k_delay_${delay}_embedded/network.safetensors"
        made "$net"
        run hebbian_snn python question_answering_task.py --resume="../$net" --evaluate $task
    done
    run hebbian_snn python plot_question_answering_task.py --checkpoint_path="../$net"
    made results/hebbian_babi_activity/figure.png
    run hebbian_snn python question_answering_task_relu.py $stories --batch_size 256

    game="--num_envs 4 --num_env_steps 40 --ppo_batches 2 --ppo_epochs 1 --num_time_steps 4"
    game="$game --evaluation_games 4 --max_flips 10 --backend reference"
    for more in "" "--num_cells 6 --num_steps 10" "--resample_cards"; do
        run hebbian_snn python reinforcement_learning_task.py --decay_lr_linearly $game $more
    done
    net="$runs/concentration_4_4_steps/network.safetensors"
    run hebbian_snn python reinforcement_learning_task.py --decay_lr_linearly \
        --resume="../$net" --evaluate $game
    run hebbian_snn python reinforcement_learning_task_relu.py --decay_lr_linearly $game

    # ---- SNN-THA ---------------------------------------------------------------------------------
    for dataset in shd dvs; do
        run snn_tha/$dataset python run.py --epochs 1 --batch_size 10 --backend reference $images
        made "runs/snn_tha/${dataset}_embedded/network.safetensors"
    done
    sed -i 's/"num_epochs": 500/"num_epochs": 2/' "$clone/snn_tha/mnist/conf.py"
    run snn_tha/mnist python run.py --batch_size 10 --backend reference $images
    [[ "$(wc -l <"$clone/results/snn_tha_runs/mnist_embedded_t0.csv")" == 3 ]]
    git -C "$clone" checkout --quiet snn_tha/mnist/conf.py

    # ---- DASBE -----------------------------------------------------------------------------------
    for network in corner shape; do
        run scripts/dasbe python train_net.py $network --epochs 1 --images 100
    done
    made runs/dasbe/{corners,shapes}/network.safetensors
    digits="--data embedded --epochs 1"
    run scripts/dasbe python train_net.py mnist_shape --images 100 $digits
    run scripts/dasbe python train_multi_mnist.py --images 100 $digits
    run scripts/dasbe python train_clrnet.py --epochs 1 --images 60 --batch_size 20
    run scripts/dasbe python train_rbae.py --epochs 1 --images 10 --batch_size 5 --groups train_single
    run scripts/dasbe python dasbe_example.py shapes shapes --iterations 2
    made results/dasbe_example/figure.png
    run scripts/dasbe ./dasbe_example.sh
    run scripts/dasbe ./gain_dataset.sh --count 10 --data embedded
    for figure in figure2 figure3 figure4 figure5; do
        run scripts/dasbe ./$figure.sh --data embedded
        made "results/dasbe_$figure/figure.png"
    done
    run scripts/dasbe ./table1.sh --datasets bars --methods DASBE --seeds 1 --images 10
    made results/dasbe_table1/record.json

    # ---- GUST ------------------------------------------------------------------------------------
    run gust python train.py $small
    made runs/gust/shapes_3/network.safetensors
    run scripts/gust ./run.sh $small
    made runs/gust/shapes_{2,4}/network.safetensors
    run gust python draw_ami_syn_score.py --images 2 --runs 2 --iterations 3
    made results/gust_scores/figure.png
    run gust python draw_color.py
    run gust python save_results.py
    made results/result.npy
    run scripts/gust ./clean.sh

    # ---- This README -----------------------------------------------------------------------------
    run . python -m torch.distributed.run --nproc_per_node 2 --master_port 29542 \
        -m gust.train --train_objects 3 --name two $small
    made runs/gust/two/network.safetensors
    run . scripts/snn_tha/train.sh mnist --epochs 1 --batch_size 10 --backend reference $images
    run . python -m hebbian_snn.memorizing_associations_task --sequence_length 5 --num_classes 5 \
        $pairs
    run . python -c 'import dasbe, torch
images = (torch.rand(2, 28, 28) > 0.8).to(torch.uint8)
binding = dasbe.bind(images, "shapes", window=32, refractory=9)
assert binding.groups.shape == (2, 28, 28) and binding.spikes.shape == (2, 10, 32, 28, 28)'
    run . scripts/dasbe/animation.sh
    run . python -m common.networks list --missing
    run . ./scripts/reproduce.sh --data embedded
    made results/index.html
fi

changed="$(git -C "$clone" status --porcelain)"
[[ -z "$changed" ]] || { echo "git status is not clean:"; echo "$changed"; exit 1; }
echo "all lines passed"
