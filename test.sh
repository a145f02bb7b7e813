#!/usr/bin/env bash
# Runs all checks and tests. On Debian and Ubuntu it installs what is missing; what it does, it says.
# With --peers it also checks that the other event stores of the comparison build, which nothing else needs.
# With --quick it stops after formatting, clippy, and the tests that need no server, each broken adapter met once: for
# the inner loop.
# With --faults it also makes faults of one line in copies of our adapters, each of which the suite must catch.
# With --each-feature it also checks each library with each of its features alone, and with none.
# With --minimal-versions it also checks the libraries with the oldest dependencies that their manifests allow.
# That needs a nightly compiler to choose them, and is skipped without one.
# With --fuzz it also runs each fuzz target for some seconds, which needs a nightly compiler, too.
# With --postgres-versions it also runs the tests of PostgreSQL on each further version that scripts/postgres.sh knows.
set -euo pipefail
cd "$(dirname "$0")"

each_feature= faults= fuzz= minimal_versions= peers= postgres_versions= quick=
for option in "$@"; do
    case "$option" in
    --peers) peers=yes ;;
    --quick) quick=yes ;;
    --each-feature) each_feature=yes ;;
    --faults) faults=yes ;;
    --fuzz) fuzz=yes ;;
    --minimal-versions) minimal_versions=yes ;;
    --postgres-versions) postgres_versions="16 17 18" ;;
    *)
        echo "usage: $0 [--quick] [--each-feature] [--faults] [--fuzz] [--minimal-versions] [--peers] [--postgres-versions]" >&2
        exit 2
        ;;
    esac
done

CARGO_DENY_VERSION=0.20.2

step() {
    printf '\n=== %s (%ss)\n' "$*" "$SECONDS"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

need() { # need COMMAND PACKAGE
    if command -v "$1" >/dev/null; then return; fi
    echo "$1 is missing: installing the package $2"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" >/dev/null
}

nightly() { # nightly WHAT: whether there is a nightly compiler, without which it says that WHAT is not run
    if cargo +nightly --version >/dev/null 2>&1; then return; fi
    echo "NOT RUN: $1, because no nightly compiler is installed (rustup toolchain install nightly --profile minimal)"
    return 1
}

step "what the tests need"
if ! command -v cargo >/dev/null; then
    echo "cargo is missing: install Rust 1.89 or later, see https://rustup.rs" >&2
    exit 1
fi
need git git
need cc gcc
if [ -z "$quick" ]; then
    # PostgreSQL's server programs are often not on the path; those of Debian have a folder for each version.
    if [ -z "${ANNALS_POSTGRES_URL:-}" ] && ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
        need initdb postgresql
    fi
    export PATH="$PATH:/usr/sbin"
    need pgbouncer pgbouncer
    need openssl openssl
fi
for component in fmt clippy; do
    if ! cargo "$component" --version >/dev/null 2>&1; then
        echo "cargo $component is missing: adding it to the toolchain"
        rustup component add "${component/fmt/rustfmt}"
    fi
done
tools="$PWD/target/tools"
export PATH="$tools/bin:$PATH"
if [ -z "$quick" ] && ! cargo deny --version 2>/dev/null | grep -qF "$CARGO_DENY_VERSION"; then
    echo "cargo-deny $CARGO_DENY_VERSION is missing: building it to target/tools (some minutes, once)"
    cargo install --quiet --locked --root "$tools" --version "$CARGO_DENY_VERSION" cargo-deny
fi

step "formatting"
cargo fmt --all --check

step "clippy"
cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

if [ -n "$quick" ]; then
    step "tests that need no server"
    ANNALS_ZOO_RUNS=1 cargo test --workspace --all-features --locked --all-targets \
        --exclude annals-postgres --exclude annals-examples --exclude annals-benches
    step "done"
    exit
fi

# Tests of databases and processes wait more than they compute.
processors="$(getconf _NPROCESSORS_ONLN)"
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((processors > 6 ? processors : 6))}"

step "tests, those in the documentation included"
# Without --all-targets: it would build tests of the examples in place of the programs, which tests run.
# What cannot run for want of a server or a program is a failure here. One run shows every failure.
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
if ! CI=true cargo test --workspace --all-features --locked --no-fail-fast 2>&1 | tee "$log"; then
    step "what failed"
    sed -n '/^failures:$/,/^test result: /p' "$log"
    exit 1
fi

for version in $postgres_versions; do
    step "the tests of PostgreSQL on version $version"
    need npm npm
    programs="$(scripts/postgres.sh "$version")"
    # The server of the tests, not one that the environment names.
    env -u ANNALS_POSTGRES_URL ANNALS_POSTGRES_BIN="$programs" CI=true \
        cargo test -p annals-postgres --all-features --locked --tests
done

if [ -n "$faults" ]; then
    step "faults of one line in copies of our adapters"
    CI=true cargo test -p annals-house --locked --test faults -- --ignored
fi

if [ -n "$each_feature" ]; then
    step "each feature alone, and none"
    cargo run --quiet --locked -p annals-house --bin features | while read -r package feature; do
        echo "$package ${feature:-without features}"
        cargo clippy --quiet -p "$package" --no-default-features --features "$feature" --locked -- -D warnings </dev/null
    done
fi

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --locked

step "the core has no runtime in it"
if cargo tree -p annals -e normal --locked | grep -E ' (tokio|async-std|smol) v'; then
    echo "the core depends on a runtime" >&2
    exit 1
fi

step "packages"
# Each as a registry would take it, in an order in which each finds those that it depends on. Their contents are what
# was compiled above, less the tests: without --no-verify all dependencies would be compiled once more.
cargo publish --quiet --dry-run --workspace --no-verify --allow-dirty --locked

step "licences, bans and sources of dependencies"
cargo deny --locked check licenses bans sources
if timeout 60 cargo deny --locked fetch db >/dev/null 2>&1; then
    cargo deny --locked check advisories
else
    echo "NOT RUN: advisories, because their database cannot be reached"
fi

step "examples"
out="$(mktemp -d)"
trap 'rm -rf "$log" "$out"' EXIT
cargo run --quiet --release --locked --example quickstart
cargo run --quiet --release --locked --example git_history -- . --again --store "$out/log.db" --chart "$out/chart.svg"
grep -q '</svg>' "$out/chart.svg"

if [ -n "$peers" ]; then
    step "the peers of the comparison build"
    need protoc protobuf-compiler
    need pkg-config pkg-config
    if ! pkg-config --exists openssl; then need openssl-headers libssl-dev; fi
    manifest=benches/peers/Cargo.toml
    cargo fmt --manifest-path "$manifest" --check
    # The same folder: most of what they depend on is compiled by now.
    CARGO_TARGET_DIR="$PWD/target" cargo clippy --manifest-path "$manifest" --all-targets --locked -- -D warnings
fi

if [ -n "$minimal_versions" ]; then
    step "the libraries with the oldest versions that their manifests allow"
    if nightly "minimal versions"; then
        # In a copy, because the lock file is another.
        copy="$PWD/target/minimal-versions"
        rm -rf "$copy"
        mkdir -p "$copy"
        git ls-files -z | xargs -0 cp --parents -t "$copy"
        target="$PWD/target/minimal-versions-build"
        libraries=()
        for manifest in $(git ls-files '*/Cargo.toml' | xargs grep -L '^publish = false'); do
            libraries+=(-p "$(sed -n '/^\[package\]/,/^\[/s/^name = "\(.*\)"/\1/p' "$manifest")")
        done
        rm "$copy/Cargo.lock"
        (
            cd "$copy"
            cargo +nightly update --quiet -Z direct-minimal-versions
            # A folder of its own: cargo would take the crates of the copy for those of the workspace.
            CARGO_TARGET_DIR="$target" cargo check --quiet "${libraries[@]}" --all-features --locked
        )
        rm -rf "$copy" "$target"
    fi
fi

if [ -n "$fuzz" ]; then
    step "fuzz targets"
    if nightly "fuzz targets"; then scripts/fuzz.sh; fi
fi

step "done"
