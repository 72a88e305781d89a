#!/bin/sh
# Resolves setup.py into the lock files of both sets of versions, requirements/{current,old}/{base,dev,bench,onnx,gpu}.txt.
#
#   scripts/lock.sh [OPTION...]    options for `uv pip compile`, such as --upgrade
set -eu
cd "$(dirname "$0")/.."
uv=$(sh scripts/setup.sh --uv)

# Resolves the extra $2 of the set $1 (base: no extra); the other arguments are passed to uv.
resolve() {
    folder=requirements/$1
    extra=$2
    shift 2
    # An extra is constrained by the base, so that a package has the same version in all files of a set.
    if [ "$extra" != base ]; then set -- --extra "$extra" --constraint "$folder/base.txt" "$@"; fi
    if [ -e "$folder/override-$extra.txt" ]; then set -- --override "$folder/override-$extra.txt" "$@"; fi
    # The command for the header of the file. By default uv writes its own, with this machine's paths and index.
    "$uv" pip compile setup.py --quiet --generate-hashes --override "$folder/override.txt" \
        --custom-compile-command 'make lock' --output-file "$folder/$extra.txt" "$@"
}

# --universal and --python-platform make the result independent of this machine. One current lock fits all its Pythons.
for extra in base dev bench onnx gpu; do
    resolve current "$extra" --python-version 3.11 --universal "$@"
    resolve old "$extra" --python-version 3.10 --python-platform linux "$@"
done
