#!/usr/bin/env bash
# Builds the fuzz targets with a nightly compiler and runs each for a bounded number of inputs and of seconds, or only
# those that are named: scripts/fuzz.sh [TARGET]... FUZZ_SECONDS bounds the seconds of each, 10 if it is not set.
# An input that makes a target fail is kept in target/fuzz/found.
set -euo pipefail
cd "$(dirname "$0")/.."

targets=("$@")
if [ "$#" = 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# The instrumentation that cargo-fuzz chooses, without its address sanitizer: our code has nothing unsafe in it. The
# dev profile has the checks of overflow and the debug assertions.
flags=(
    --cfg fuzzing
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
)
host="$(rustc +nightly -vV | sed -n 's/^host: //p')"
# With a target named, the flags are those of the targets, not of build scripts and macros.
RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR="$PWD/target/fuzz" CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_INCREMENTAL=0 \
    cargo +nightly build --quiet --manifest-path fuzz/Cargo.toml --locked --target "$host" \
    "${targets[@]/#/--bin=}"

found="$PWD/target/fuzz/found"
mkdir -p "$found"
for target in "${targets[@]}"; do
    echo "$target"
    log="$found/$target.log"
    if ! "target/fuzz/$host/debug/$target" -runs=20000 -max_total_time="${FUZZ_SECONDS:-10}" -artifact_prefix="$found/$target-" \
        >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "the fuzz target $target failed; its input is in $found" >&2
        exit 1
    fi
    # The seconds are a bound, not a measure: how many inputs there were depends on the machine.
    grep -E '^Done ' "$log" || { tail -n 5 "$log"; exit 1; }
done
