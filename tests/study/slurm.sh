#!/usr/bin/env bash
# A SLURM cluster of this one machine, for tests: munged, slurmctld and slurmd with everything of
# theirs in one folder.   slurm.sh install | start FOLDER | stop FOLDER
set -eu

install() {
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null && return
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        slurmctld slurmd slurm-client munge >/dev/null
}

start() {
    local at=$1 host cores
    host=$(hostname -s)
    cores=$(nproc)
    mkdir -p "$at"/{state,spool,munge}
    chmod 700 "$at/munge"
    (umask 077 && head -c 1024 /dev/urandom >"$at/munge/key")
    munged --force --key-file="$at/munge/key" --socket="$at/munge/socket" \
        --pid-file="$at/munge/pid" --log-file="$at/munge/log" --seed-file="$at/munge/seed"
    cat >"$at/slurm.conf" <<CONF
ClusterName=hil
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$((20000 + $$ % 10000))
SlurmdPort=$((30000 + $$ % 10000))
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$at/munge/socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SchedulerParameters=sched_interval=1,requeue_delay=1,defer_batch
StateSaveLocation=$at/state
SlurmdSpoolDir=$at/spool
SlurmctldPidFile=$at/slurmctld.pid
SlurmdPidFile=$at/slurmd.pid
SlurmctldLogFile=$at/slurmctld.log
SlurmdLogFile=$at/slurmd.log
KillWait=5
JobRequeue=1
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    SLURM_CONF="$at/slurm.conf" slurmctld -i
    SLURM_CONF="$at/slurm.conf" slurmd
    for _ in $(seq 100); do
        SLURM_CONF="$at/slurm.conf" sinfo -h -o %T 2>/dev/null | grep -q idle && return
        sleep 0.2
    done
    cat "$at"/*.log >&2
    exit 1
}

stop() {
    local at=$1 pid
    SLURM_CONF="$at/slurm.conf" scancel --user="$(id -un)" 2>/dev/null || true
    for pid in "$at/slurmd.pid" "$at/slurmctld.pid" "$at/munge/pid"; do
        [ -f "$pid" ] && kill "$(cat "$pid")" 2>/dev/null || true
    done
}

"$@"
