#!/usr/bin/env bash
# A SLURM of one node on this machine, in a folder, to try things: scripts/slurm_here.sh start FOLDER
# (then: export SLURM_CONF=FOLDER/slurm.conf) and scripts/slurm_here.sh stop FOLDER. As root, with
# Debian's packages slurm-wlm and munge.
set -euo pipefail
if (($# != 2)) || [[ "$1" != start && "$1" != stop ]]; then
    echo "error: give start FOLDER or stop FOLDER" >&2
    exit 1
fi
folder="$(mkdir -p "$2" && cd "$2" && pwd)"

stop() { # end what start has started, by its number
    for name in slurmd slurmctld munged; do
        if [[ -f "$folder/$name.pid" ]]; then
            kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
            rm -f "$folder/$name.pid"
        fi
    done
}

if [[ "$1" == stop ]]; then
    stop
    exit
fi
for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || { echo "error: $program is not installed" >&2; exit 1; }
done
host="$(hostname -s)"
mkdir -p "$folder/state" "$folder/spool"
head -c 1024 /dev/urandom >"$folder/munge.key"
chmod 600 "$folder/munge.key"
cat >"$folder/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=here Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$folder/slurm.conf"
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
slurmctld
slurmd
for _ in $(seq 100); do
    if sinfo --noheader --format=%t 2>/dev/null | grep -q idle; then
        echo "export SLURM_CONF=$SLURM_CONF"
        exit
    fi
    sleep 0.3
done
echo "error: the node does not become idle; see $folder/slurmctld.log and slurmd.log" >&2
stop
exit 1
