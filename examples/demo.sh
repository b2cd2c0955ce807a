#!/bin/sh
# Runs the examples through `shore run`, on a private server of their own below .demo/, and shows what came home.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
shore=$top/.venv/bin/shore
unset SHORE_SERVER VIRTUAL_ENV
SHORE_STATE_DIR=$top/.demo/state
XDG_CONFIG_HOME=$top/.demo/config
export SHORE_STATE_DIR XDG_CONFIG_HOME
mkdir -p "$SHORE_STATE_DIR" "$XDG_CONFIG_HOME"
chmod 700 "$top/.demo" "$SHORE_STATE_DIR"

say() { printf '\n== %s\n' "$*"; }

run() {
  printf '\n$ shore %s\n' "$*"
  "$shore" "$@"
}

stop() {
  printf '\n$ shore server stop\n'
  "$shore" server stop </dev/null || true
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The first columns of a CSV file, aligned.
table() {
  awk -F, '{
    line = sprintf("%-20s", $1)
    for (i = 2; i <= NF && i <= 5; i++) line = line sprintf(" %14s", $i)
    print line
  }' "$1"
}

came_home() {
  printf '\nCame home to %s:\n' "${PWD#"$top"/}"
  find "$@" -type f -exec ls -l {} + | awk '{ printf "%9d bytes  %s\n", $5, $NF }'
}

say 'Python: which model tells malignant from benign biopsies best?'
cd "$top/examples/biopsy-python"
rm -rf results
run run compare.py
printf '\n'
table results/metrics.csv
came_home results

say 'R: what tells three grape cultivars apart?'
if command -v Rscript >/dev/null; then
  cd "$top/examples/wine-r"
  rm -rf results wine-model.rds
  run run analyse.R
  printf '\n'
  table results/accuracy.csv
  came_home results wine-model.rds
else
  printf 'Rscript is not installed, so this one was left out (Debian: apt install r-base-core).\n'
fi

say 'All jobs of this server'
run ps
