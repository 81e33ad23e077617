#!/bin/bash
# Builds the fuzz targets and runs each for a time; the first finding ends it.
#
#   tests/fuzz/run.sh SECONDS [TARGET...]    all targets if none is named
#
# Stable Rust and a C++ compiler for libFuzzer are all that is needed. The corpus grows in
# $CARGO_TARGET_DIR/fuzz/corpus from one run to the next, and findings are written to
# $CARGO_TARGET_DIR/fuzz/findings; run a target on one of them with
#
#   $CARGO_TARGET_DIR/fuzz/*/release/TARGET FILE
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."

seconds=${1:?for how many seconds?}
shift
all=(snapshot agent_state containers cluster recordio)
targets=("$@")
[ $# -gt 0 ] || targets=("${all[@]}")

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
seeds=$target/seeds
recorded=exporter/tests/fixtures

# What a fuzzer without a sanitizer needs of the compiler: counters on the edges, a table of
# their places, and what is compared with what. There is nothing for a sanitizer to find, since
# unsafe code is forbidden. A host is named, so that build scripts and macros are spared.
build() {
  local host flags=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
  )
  host=$(rustc -vV | sed -n 's/^host: //p')
  # Every dependency is of the version that the daemons are built with.
  cp Cargo.lock "$here/Cargo.lock"
  local options=(--quiet --manifest-path "$here/Cargo.toml" --release --target "$host")
  export RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$target
  cargo fmt --manifest-path "$here/Cargo.toml" --check
  cargo clippy "${options[@]}" --all-targets -- -D warnings
  cargo build "${options[@]}" --bins
  binaries=$target/$host/release
}

# seed TARGET NAME FILE...: one seed of these files, parted by a zero byte.
seed() {
  local into=$seeds/$1/$2 file
  shift 2
  cat "$1" >"$into"
  for file in "${@:2}"; do
    printf '\0' >>"$into"
    cat "$file" >>"$into"
  done
}

# Recorded answers of Mesos, every key of the catalogue, and in seeds/ what no recording has.
make_seeds() {
  local name
  rm -rf "$seeds"
  for name in "${all[@]}"; do
    mkdir -p "$seeds/$name"
  done
  cp $recorded/*_metrics_snapshot.json "$here/seeds/snapshot.json" "$seeds/snapshot/"
  for name in master agent; do
    awk -F , -v of="$name" '$1 == of && $2 { printf "%s\"%s\":%d", sep, $2, NR; sep = "," }
      BEGIN { printf "{" } END { printf "}" }' exporter/src/catalogue.csv >"$seeds/snapshot/every_$name"
  done
  cp $recorded/*agent_state.json crates/mesos/tests/fixtures/agent1_state.json \
    "$here/seeds/state.json" "$seeds/agent_state/"
  for name in containers monitor_statistics v1_get_containers; do
    seed containers $name "$recorded/agent_$name.json" $recorded/agent_state.json
  done
  seed containers cgroups $recorded/cgroups_agent_containers.json $recorded/cgroups_agent_state.json
  seed containers every_part "$here"/seeds/{get_containers,state}.json
  for name in leader drained; do
    seed cluster $name "$recorded/${name}_state_summary.json" $recorded/leader_roles.json
  done
  seed cluster every_part "$here"/seeds/{state_summary,roles}.json
  # Its first byte is no part of the stream.
  { printf x && cat crates/mesos/tests/fixtures/operator_event_stream.recordio; } >"$seeds/recordio/recorded"
}

# Inputs are longer than any recorded answer. What takes ten seconds or 2 GiB is a finding.
fuzz() {
  local name=$1 log=$target/$1.log corpus=$target/corpus/$1 findings=$target/findings/$1
  mkdir -p "$corpus" "$findings"
  if "$binaries/$name" -max_total_time="$seconds" -max_len=32768 -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$findings/" "$corpus" "$seeds/$name" >"$log" 2>&1; then
    printf '%s: ' "$name"
    grep -E '^#[0-9]+[[:space:]]+DONE' "$log"
    grep -E '^(Done|stat::)' "$log"
  else
    tail -n 60 "$log" | cut -c 1-2000
    echo "$name: found something (above: the end of $log)"
    return 1
  fi
}

mkdir -p "$target"
build
make_seeds
for name in "${targets[@]}"; do
  fuzz "$name"
done
