#!/usr/bin/env bash
# One run by several processes on this machine.
#
#   launch/local.sh -n 2 -- --config=configs/quickstart.py --workdir=runs/two
#   launch/local.sh -n 2 -d 4 -- ...   4 simulated CPU devices in each process
#   launch/local.sh -n 4 -g -- ...     process i has GPU i
#   launch/local.sh -n 2 -r 3 -- ...   up to 3 new starts after a process was lost
#
# Ctrl-C, SIGTERM or SIGUSR1 reaches all: they save the same step and end; the same
# command goes on from there. A process that is lost ends the others.
set -euo pipefail

usage() {
  echo "usage: $0 -n PROCESSES [-d CPU_DEVICES | -g] [-r RESTARTS] -- ARGUMENTS" >&2
  exit 2
}

processes='' devices='' gpus='' restarts=0
while getopts n:d:gr: option; do
  case $option in
    n) processes=$OPTARG ;;
    d) devices=$OPTARG ;;
    g) gpus=yes ;;
    r) restarts=$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
for number in "$processes" "${devices:-1}" "$restarts"; do
  [[ $number =~ ^[0-9]+$ ]] || usage
done
((processes >= 1 && $# >= 1)) || usage

python=${PYTHON:-python}
lost='75 134 137' # another process is lost | ended by jax for that | killed
if [[ -n $devices ]]; then
  export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=$devices
fi
export JAX_NUM_PROCESSES=$processes PYTHONUNBUFFERED=1

pids=() told=''
tell() {
  told=$1
  kill "-$1" "${pids[@]}" 2>/dev/null || true
}
trap 'tell TERM' INT TERM
trap 'tell USR1' USR1

start_all() {
  local port number
  port=$("$python" -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
  export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port
  pids=()
  for ((number = 0; number < processes; number++)); do
    if [[ -n $gpus ]]; then export JAX_LOCAL_DEVICE_IDS=$number; fi
    JAX_PROCESS_ID=$number "$python" -m hsjax.main "$@" \
      > >(sed -u "s/^/[$number] /") 2>&1 &
    pids+=($!)
  done
}

wait_for_all() { # the code of the first process, by number, that did not end well
  local number status code=0
  for number in "${!pids[@]}"; do
    while kill -0 "${pids[number]}" 2>/dev/null; do
      wait "${pids[number]}" || true # a signal to this script ends it, too
    done
    status=0
    wait "${pids[number]}" || status=$?
    if ((status)); then
      echo "launch/local.sh: process $number ended with $status" >&2
      if ((code == 0)); then code=$status; fi
    fi
  done
  return "$code"
}

for ((attempt = 0; ; attempt++)); do
  start_all "$@"
  if [[ -n $told ]]; then tell "$told"; fi # those that were started meanwhile
  code=0
  wait_for_all || code=$?
  if [[ -n $told || " $lost " != *" $code "* ]] || ((attempt >= restarts)); then
    exit "$code"
  fi
  echo "launch/local.sh: a process was lost; new start $((attempt + 1))" >&2
done
