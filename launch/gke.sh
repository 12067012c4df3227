#!/usr/bin/env bash
# One run as a JobSet of GKE, from launch/gke.yaml, and waits until it has ended. The same
# command waits for one that is under way, and replaces one that has ended.
#
#   launch/gke.sh NAME IMAGE -- --config=configs/scale/v5e_8.py --workdir=/runs/v5e_8
#   launch/gke.sh -p NAME IMAGE -- ...    prints the manifest alone
#
# NAME is of the JobSet (small letters, digits, -). kubectl reaches the cluster, in which
# JobSet is installed and a claim named `runs` is there.
set -euo pipefail

print=''
if [[ ${1:-} == -p ]]; then
  print=yes
  shift
fi
if (($# < 4)) || [[ $3 != -- || ! $1 =~ ^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$ ]]; then
  echo "usage: $0 [-p] NAME IMAGE -- ARGUMENTS" >&2
  exit 2
fi
name=$1 image=$2
shift 3

manifest=$("${PYTHON:-python}" - "$(dirname "$0")/gke.yaml" "$name" "$image" "$@" <<'E2'
import json, re, sys

path, name, image, *arguments = sys.argv[1:]
text = open(path).read()
for pattern, value in (
    (r"(?m)^  name: hsjax .*$", f"  name: {name}"),
    (r"hsjax-run-0-0\.hsjax:", f"{name}-run-0-0.{name}:"),
    (r"image: \S+ # CHANGE", f"image: {image}"),
    (r"args:\n( +- .*\n)+", f"args: {json.dumps(arguments)}\n"),
):
    text, count = re.subn(pattern, lambda _: value, text)
    assert count == 1, pattern
sys.stdout.write(text)
E2
)
if [[ -n $print ]]; then
  printf '%s\n' "$manifest"
  exit
fi
state() {
  kubectl get jobset "$name" -o 'jsonpath={.status.terminalState}' "$@"
}
found=$(state --ignore-not-found)
if [[ -n $found ]]; then # one that has ended stays as it is, whatever is applied
  kubectl delete jobset "$name" --cascade=foreground # its pods are gone, too
fi
kubectl apply -f - <<<"$manifest"
missed=0
for ((;;)); do # until it has ended well or not
  if found=$(state); then
    missed=0
  elif ((++missed == 10)); then # not of a moment
    echo "$0: no word of $name; the same command waits for it again" >&2
    exit 75
  fi
  case $found in
    Completed) exit 0 ;;
    Failed) exit 1 ;;
  esac
  sleep 30
done
