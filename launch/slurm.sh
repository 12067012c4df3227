#!/usr/bin/env bash
#SBATCH --job-name=hsjax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
# One run as a job of Slurm; every task is a process of it, with a GPU of its own.
#
#   sbatch launch/slurm.sh --config=configs/quickstart.py --workdir=runs/quick
#   sbatch --nodes=2 --ntasks-per-node=4 --gres=gpu:4 launch/slurm.sh --config=...
#
# Options of sbatch go before the script and win over those above. The working directory
# is the project's, the workdir is on a disk that all nodes share. USR1, which Slurm sends
# two minutes before the end, or SIGTERM (scancel --signal=TERM JOB) lets all tasks save the
# same step and end; then, and when a task was lost, the job is put back into the queue and
# goes on from there. A job that is cancelled saves, too, and stays out of the queue.
set -euo pipefail

most=${HSJAX_REQUEUES:-20}
again=' 75 134 137 138 143 ' # lost | ended for that | killed | USR1 | SIGTERM
export PYTHONUNBUFFERED=1

# this shell lives on when Slurm signals it, too, and lets srun end by itself. It gets
# SIGTERM only where the job as a whole is to end: cancelled, or preempted, after which
# Slurm itself queues it again where it is set up so
cancelled=''
trap 'cancelled=yes' TERM
trap : USR1
srun --kill-on-bad-exit=0 "${PYTHON:-python}" -m hsjax.main "$@" &
step=$!
while kill -0 "$step" 2>/dev/null; do
  wait "$step" || true
done
code=0
wait "$step" || code=$?

if [[ $again == *" $code "* && -z $cancelled ]] &&
  ((${SLURM_RESTART_COUNT:-0} < most)); then
  echo "launch/slurm.sh: ended with $code; job $SLURM_JOB_ID is queued again" >&2
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
