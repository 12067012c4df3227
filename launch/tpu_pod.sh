#!/usr/bin/env bash
# One run on all hosts of a Cloud TPU slice.
#
#   launch/tpu_pod.sh NAME ZONE FOLDER -- --config=configs/scale/v5e_8.py --workdir=/mnt/runs/a
#
# FOLDER is this project on every host, installed there with `pip install -e '.[tpu]'`; the
# workdir lies on a disk that all hosts have mounted (Filestore, or a bucket by gcsfuse).
# jax finds the hosts by itself. A host that is taken away ends the others; the command is
# then given again, up to HSJAX_RESTARTS (20) times, as long as the slice is there.
set -euo pipefail

if (($# < 5)) || [[ $4 != -- ]]; then
  echo "usage: $0 NAME ZONE FOLDER -- ARGUMENTS" >&2
  exit 2
fi
name=$1 zone=$2 folder=$3
shift 4

# quoted once for the shell of the hosts
printf -v arguments ' %q' "$@" --config.train.processes=-1
printf -v command 'cd %q && exec python -u -m hsjax.main%s' "$folder" "$arguments"
again=' 75 134 137 138 143 255 ' # 255: ssh itself was cut off

for ((attempt = 0; ; attempt++)); do
  code=0
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="$command" || code=$?
  if [[ $again != *" $code "* ]] || ((attempt >= ${HSJAX_RESTARTS:-20})); then
    exit "$code"
  fi
  echo "launch/tpu_pod.sh: ended with $code; new start $((attempt + 1))" >&2
  sleep 30
done
