#!/bin/bash
# Runs the tests in parts, says how long each took, and stops at the first that
# fails. Called by the Makefile:
#
#   tests/run.sh demo       the demo
#   tests/run.sh test       everything that has to hold for every change
#   tests/run.sh test-all   that, and what takes long. A part that has passed on
#                           the sources as they are is not run again. The result
#                           is in $CARGO_TARGET_DIR/test-report.txt
#   tests/run.sh fuzz       the fuzz targets, each for $FOR seconds (60), or $TARGET alone
#   tests/run.sh bench      figures of the release build; nothing depends on them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
times=()

# Only for test-all: what passed, by part and sources, each with its output.
resume=no
passed=$target/test-all-passed
report=$target/test-report.txt

clock() { printf '%3dm%02ds' $(($1 / 60)) $(($1 % 60)); }

# Prints the lines, and appends them to the report if there is one.
note() {
  printf '%s\n' "$@"
  if [ $resume = yes ]; then printf '%s\n' "$@" >>"$report"; fi
}

summarise() { note '' "${times[@]}" "$(clock $SECONDS)  in all"; }

# part NAME COMMAND...: runs the command, with its output as it is.
part() {
  local name=$1 start=$SECONDS output mark
  shift
  output=$target/test-part-output
  mark=$passed/$(tr -c 'a-z0-9\n' - <<<"$name")-${sources:-}
  if [ $resume = yes ] && [ -e "$mark" ]; then
    cat "$mark" >>"$report"
    times+=("$(tail -n 1 "$mark"), in an earlier run on the same sources")
    return
  fi
  mkdir -p "$target" "$passed"
  printf '\n=== %s\n' "$name" | tee "$output"
  # The exit of a pipe is that of the command: pipefail.
  if ! "$@" 2>&1 | tee -a "$output"; then
    times+=("$(clock $((SECONDS - start)))  $name: FAILED")
    if [ $resume = yes ]; then cat "$output" >>"$report"; fi
    summarise
    note "FAILED: $name. What comes after it was not run."
    exit 1
  fi
  times+=("$(clock $((SECONDS - start)))  $name")
  if [ $resume = yes ]; then
    echo "${times[-1]}" >>"$output"
    cat "$output" >>"$report"
    mv "$output" "$mark"
  fi
}

need_cargo() {
  [ -d "$HOME/.cargo/bin" ] && PATH=$PATH:$HOME/.cargo/bin
  if ! command -v cargo >/dev/null; then
    echo 'Rust is not here. Get it from https://rustup.rs, or:' >&2
    echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" >&2
    exit 1
  fi
  for tool in "$@"; do
    cargo "$tool" --version >/dev/null 2>&1 || {
      echo "cargo $tool is not here: rustup component add rustfmt clippy" >&2
      exit 1
    }
  done
}

# The digest of everything that a result depends on: what git knows, as it is on
# disk, and new files.
sources_digest() {
  git ls-files -z --cached --others --exclude-standard | sort -z |
    xargs -0 sha256sum 2>/dev/null | sha256sum | cut -c1-16
}

# The end-to-end tests are no default target (see tests/Cargo.toml), so they are
# named.
lints() {
  cargo clippy --quiet --workspace --all-targets -- -D warnings &&
    cargo clippy --quiet --workspace --test real_cluster --test alertmanager_lab \
      --test several_masters --test seeded_faults -- -D warnings
}

# Its readers work on these crates, so private items are documented too, and may
# be linked to from public ones.
documentation() {
  RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' \
    cargo doc --quiet --workspace --no-deps --document-private-items
}

test_parts() {
  part 'peers' tests/peers/install.sh
  part 'format' cargo fmt --all --check
  part 'lints' lints
  part 'documentation' documentation
  part 'alert rules' alerts/check.sh
  part 'build' cargo build --workspace --bins
  part 'unit tests' cargo test --workspace -- --skip no_seed
  part 'simulation, 2500 seeds' simulation no_seed_breaks
  part 'simulation of several remediators, 800 seeds' simulation no_seed_of_several
  part 'Alertmanager at its worst' cargo test --workspace --test alertmanager_lab
  part 'real cluster' cargo test --workspace --test real_cluster
  part 'several masters' cargo test --workspace --test several_masters
}

# simulation [CARGO OPTION...] TEST: on as many seeds as $SATELLITE_SEEDS says.
simulation() {
  cargo test --package satellite-remediator --lib "$@" -- --nocapture
}

two_at_once() {
  local run failed=0 pids=()
  for run in 1 2; do
    cargo test --workspace --test real_cluster >"$target/at-once-$run.log" 2>&1 &
    pids+=($!)
  done
  for run in 1 2; do
    wait "${pids[run - 1]}" || failed=1
    tail -n 20 "$target/at-once-$run.log"
  done
  return $failed
}

# fuzzing [TARGET]: without one, every target. The peers brought the C++ compiler.
fuzzing() {
  tests/fuzz/run.sh "${FOR:-60}" "$@"
}

# What is committed, built from nothing, in a target directory of its own.
demo_on_a_clean_clone() {
  local clone=$target/clean-clone
  rm -rf "$clone" &&
    git clone --quiet . "$clone" &&
    env -u CARGO_TARGET_DIR make -C "$clone" demo &&
    rm -rf "$clone"
}

case ${1:-} in
  demo)
    need_cargo
    tests/peers/install.sh
    cargo build --workspace --bins
    exec "$target/debug/satellite-demo"
    ;;
  test)
    need_cargo fmt clippy
    test_parts
    summarise
    ;;
  test-all)
    need_cargo fmt clippy
    resume=yes
    sources=$(sources_digest)
    mkdir -p "$target"
    printf 'test-all, sources %s (%s)\n' "$sources" "$(git describe --always --dirty 2>/dev/null)" >"$report"
    test_parts
    SATELLITE_SEEDS=100000 part 'simulation, 100000 seeds' simulation --release no_seed_breaks
    SATELLITE_SEEDS=20000 part 'simulation of several remediators, 20000 seeds' \
      simulation --release no_seed_of_several
    part 'seeded faults' cargo test --workspace --test seeded_faults
    FOR=60 part 'fuzzing, a minute each' fuzzing
    part 'killed 500 times' env SATELLITE_KILLS=500 \
      cargo test --package satellite-remediator --test daemon crash_sweep -- --nocapture
    part 'Prometheus killed 20 times' env SATELLITE_LONG_CASES=1 \
      cargo test --workspace --test real_cluster
    part 'several masters on three servers of ZooKeeper, all cases' \
      env SATELLITE_LONG_CASES=1 SATELLITE_ZOOKEEPERS=3 \
      cargo test --workspace --test several_masters
    part '30000 hosts in ZooKeeper' env SATELLITE_LONG_CASES=1 \
      cargo test --package satellite-remediator very_many_hosts
    part 'eight scrapers at once' env SATELLITE_LONG_CASES=1 \
      cargo test -p satellite-exporter --test integration eight_scrapers
    part 'two real clusters at once' two_at_once
    part 'demo on a clean clone' demo_on_a_clean_clone
    summarise
    note "all passed; this report: $report"
    ;;
  fuzz)
    need_cargo fmt clippy
    tests/peers/install.sh
    fuzzing ${TARGET:+"$TARGET"}
    ;;
  bench)
    need_cargo
    cargo build --release --workspace --bins
    # All at once, else crates that both need would be built twice, with the
    # features of one and of all.
    cargo bench --workspace --bench plan --bench remediator --bench exporter
    ;;
  *)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 64
    ;;
esac
