#!/usr/bin/env bash
# Runs `make TARGET...` on a copy of this checkout in a Debian 13 system, which has the glibc for the current set.
#
#   scripts/debian13.sh TARGET...    such as test, run, or test ARGS=tests/schema
#
# For machines with an older glibc. Needs root, and debootstrap or apt to install it. Everything is in build/debian13:
# the system (600 MB), and in its /src the copy of the checkout with its own .venv (5 GB) and runs/. It is created once;
# later calls take seconds. The folder ../shared is mounted beside the copy, read-only.
set -euo pipefail

FOLDER=build/debian13
ROOT=$FOLDER/root
COPY=$ROOT/src/checkout
GLIBC=2.39 # machines with this version or newer need no Debian 13
PACKAGES=ca-certificates,g++,gcc,git,libgomp1,make,openssl,python3,python3-dev,python3-venv
OWN=(.venv .uv runs build encoders) # belong to the copy: neither copied nor removed

say() { printf 'debian13: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# Exits with a message if this machine can't run a Debian 13.
check_machine() {
    local glibc
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //' || true)
    if [[ -n $glibc && $(printf '%s\n' "$GLIBC" "$glibc" | sort -V | head -1) == "$GLIBC" ]]; then
        die "glibc $glibc of this machine is new enough for the current versions: call \`make $*\` instead."
    fi
    if ((EUID)); then
        die "creating a Debian 13 system needs root: use sudo, or call \`make $*\` on a system with glibc $GLIBC or" \
            "newer (Debian 13, Ubuntu 24.04)."
    fi
    unshare --mount true 2>/dev/null ||
        die "this machine does not allow mounts, even for root: start the container with CAP_SYS_ADMIN, or call" \
            "\`make $*\` on a system with glibc $GLIBC or newer (Debian 13, Ubuntu 24.04)."
}

# Installs debootstrap if it is missing.
provide_debootstrap() {
    if command -v debootstrap >/dev/null; then return; fi
    command -v apt-get >/dev/null || die "debootstrap is missing: install it, then repeat the command."
    say "installing debootstrap with apt-get"
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends debootstrap; } </dev/null >&2 ||
        die "could not install debootstrap (the reason is above)."
}

# Prints this machine's source of Debian packages; nothing on other distributions.
package_source() {
    sed -nE 's/^(URIs:|deb( \[.*\])?) +(\S+\/debian)\/?( .*)?$/\3/p' \
        /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | head -1 || true
}

# Creates the system, unless it exists. An incomplete system has another name and is removed.
create_root() {
    if [[ -d $ROOT ]]; then return; fi
    provide_debootstrap
    say "creating a Debian 13 system in $ROOT (a few minutes, 600 MB)"
    mkdir -p "$FOLDER"
    rm -rf "$ROOT.new"
    # In a separate mount namespace: debootstrap mounts /proc, which would stay mounted after a kill.
    unshare --mount --propagation private \
        debootstrap --variant=minbase --include="$PACKAGES" trixie "$ROOT.new" $(package_source) >"$FOLDER/log" 2>&1 ||
        die "debootstrap failed: $(tail -1 "$FOLDER/log") (full log: $FOLDER/log)"
    rm -rf "$ROOT.new"/var/cache/apt/archives/*.deb
    mkdir "$ROOT.new/src" "$ROOT.new/src/checkout"
    mv "$ROOT.new" "$ROOT"
}

# Updates the copy to the state of the checkout.
copy_checkout() {
    local name keep=() skip=()
    for name in "${OWN[@]}"; do
        keep+=(! -name "$name")
        skip+=(--exclude="./$name")
    done
    find "$COPY" -mindepth 1 -maxdepth 1 "${keep[@]}" -exec rm -rf {} +
    tar -c "${skip[@]}" --exclude=./.git . | tar -x --no-same-owner -C "$COPY"
}

# Mounts $1, if it exists, read-only as $2 in the system (default: the same path).
mount_ro() {
    local source target=$ROOT${2:-$1}
    source=$(realpath -e "$1" 2>/dev/null) || return 0
    if [[ -d $source ]]; then
        mkdir -p "$target"
    else
        mkdir -p "$(dirname "$target")"
        [[ -e $target ]] || : >"$target"
    fi
    mount --bind "$source" "$target"
    mount -o remount,bind,ro "$target"
}

# Mounts the folders that the system needs. Called in a separate mount namespace, so that no mount is left behind.
mount_all() {
    local name file
    # pivot_root needs a mount as the new root. In a chroot the tests could not create namespaces.
    mount --bind "$ROOT" "$ROOT"
    for name in proc dev sys; do mount --rbind "/$name" "$ROOT/$name"; done
    # The settings of the network, pip and uv on this machine.
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/uv/uv.toml; do mount_ro "$file"; done
    for file in .config/pip/pip.conf .pip/pip.conf .config/uv/uv.toml; do mount_ro "${HOME:-/root}/$file" "/root/$file"; done
    for file in /etc/ssl/certs/ca-certificates.crt "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}" "${PIP_CERT:-}"; do
        if [[ -f $file ]]; then mount_ro "$file"; fi
    done
    mount_ro ../shared /src/shared
    # In a worktree .git is a file that names a folder elsewhere.
    mount_ro .git /src/checkout/.git
    if file=$(git rev-parse --path-format=absolute --git-common-dir 2>/dev/null) && [[ -f .git ]]; then
        mount_ro "$file"
    fi
}

# Replaces this process by make in the system, so that the exit status is that of make.
enter() {
    mount_all
    cd "$ROOT"
    pivot_root . mnt
    cd /src/checkout
    umount -l /mnt
    local name unset=(MAKEFLAGS MAKEOVERRIDES MAKELEVEL MFLAGS ARGS PIP_FIND_LINKS VIRTUAL_ENV UV_CACHE_DIR UV_PYTHON)
    for name in "${!PYENV_@}"; do unset+=("$name"); done
    exec env "${unset[@]/#/--unset=}" HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' make "$@"
}

main() {
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    if [[ ${1:-} == --enter ]]; then
        shift
        enter "$@"
    fi
    if (($# == 0)); then
        say "usage: scripts/debian13.sh TARGET..., such as: make debian13 ARGS=test"
        exit 2
    fi
    check_machine "$@"
    exec 9<scripts/debian13.sh
    flock -n 9 || die "another command is running in the Debian 13 system of this checkout; wait for it."
    create_root
    copy_checkout
    say "make $* in $COPY"
    exec unshare --mount --propagation private bash scripts/debian13.sh --enter "$@"
}

main "$@"
