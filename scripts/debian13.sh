#!/usr/bin/env bash
# Runs `make TARGET...` on a copy of this checkout in a Debian 13, whose glibc the current set of versions needs.
#
#   scripts/debian13.sh TARGET...    such as: test | run | test ARGS=tests/schema
#
# For machines with an older glibc: it shows there that the current set works. Needs root, and debootstrap or apt to
# install it. Everything lies in build/debian13: the system (600 MB) and, beside each other in its /src, the copy with
# its own .venv (5 GB) and runs/. Made once; later calls take seconds. The folder ../shared is there too, read-only.
set -euo pipefail

FOLDER=build/debian13
ROOT=$FOLDER/root
COPY=$ROOT/src/checkout
GLIBC=2.39 # from here on a machine needs no Debian 13
PACKAGES=ca-certificates,g++,gcc,git,libgomp1,make,openssl,python3,python3-dev,python3-venv
OWN=(.venv .uv runs build encoders) # the copy's own: neither copied nor removed

say() { printf 'debian13: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# Ends with a sentence where this machine can't do it.
check_machine() {
    local glibc
    glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //' || true)
    if [[ -n $glibc && $(printf '%s\n' "$GLIBC" "$glibc" | sort -V | head -1) == "$GLIBC" ]]; then
        die "this machine's glibc $glibc is new enough for the current versions: call \`make $*\` itself."
    fi
    if ((EUID)); then
        die "making a Debian 13 needs root: call it with sudo, or call \`make $*\` on a system with glibc $GLIBC or" \
            "newer (Debian 13, Ubuntu 24.04)."
    fi
    unshare --mount true 2>/dev/null ||
        die "this machine allows no mounts, not even to root: start the container with CAP_SYS_ADMIN, or call" \
            "\`make $*\` on a system with glibc $GLIBC or newer (Debian 13, Ubuntu 24.04)."
}

# Installs debootstrap if it is missing.
provide_debootstrap() {
    if command -v debootstrap >/dev/null; then return; fi
    command -v apt-get >/dev/null || die "debootstrap is missing: install it, then call again."
    say "installing debootstrap with apt-get"
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends debootstrap; } </dev/null >&2 ||
        die "could not install debootstrap (the reason is above)."
}

# Prints where this machine takes its Debian packages from; nothing if it is another distribution.
package_source() {
    sed -nE 's/^(URIs:|deb( \[.*\])?) +(\S+\/debian)\/?( .*)?$/\3/p' \
        /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | head -1 || true
}

# Makes the system, unless it is there. Half a system has another name, and goes.
make_root() {
    if [[ -d $ROOT ]]; then return; fi
    provide_debootstrap
    say "making a Debian 13 in $ROOT (some minutes, 600 MB)"
    mkdir -p "$FOLDER"
    rm -rf "$ROOT.new"
    # In a mount namespace of its own: debootstrap mounts /proc, and a kill would leave it.
    unshare --mount --propagation private \
        debootstrap --variant=minbase --include="$PACKAGES" trixie "$ROOT.new" $(package_source) >"$FOLDER/log" 2>&1 ||
        die "debootstrap failed: $(tail -1 "$FOLDER/log") (all of it: $FOLDER/log)"
    rm -rf "$ROOT.new"/var/cache/apt/archives/*.deb
    mkdir "$ROOT.new/src" "$ROOT.new/src/checkout"
    mv "$ROOT.new" "$ROOT"
}

# Brings the copy to the state of the checkout.
copy_checkout() {
    local name keep=() skip=()
    for name in "${OWN[@]}"; do
        keep+=(! -name "$name")
        skip+=(--exclude="./$name")
    done
    find "$COPY" -mindepth 1 -maxdepth 1 "${keep[@]}" -exec rm -rf {} +
    tar -c "${skip[@]}" --exclude=./.git . | tar -x --no-same-owner -C "$COPY"
}

# Shows $1, if it exists, as $2 in the system (the same path unless named), read-only.
show() {
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

# Mounts what the system needs; called in a mount namespace of its own, so that nothing stays, whatever ends it.
mount_all() {
    local name file
    # A root that is a mount can be pivoted to: in a mere chroot no test could make namespaces.
    mount --bind "$ROOT" "$ROOT"
    for name in proc dev sys; do mount --rbind "/$name" "$ROOT/$name"; done
    # The network, and what pip and uv are set to on this machine.
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/uv/uv.toml; do show "$file"; done
    for file in .config/pip/pip.conf .pip/pip.conf .config/uv/uv.toml; do show "$HOME/$file" "/root/$file"; done
    for file in /etc/ssl/certs/ca-certificates.crt "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}" "${PIP_CERT:-}"; do
        if [[ -f $file ]]; then show "$file"; fi
    done
    show ../shared /src/shared
    # In a worktree .git is a file that names a folder elsewhere.
    show .git /src/checkout/.git
    if file=$(git rev-parse --path-format=absolute --git-common-dir 2>/dev/null) && [[ -f .git ]]; then show "$file"; fi
}

# Runs make in the system, in place of this process: the status is make's.
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
    flock -n 9 || die "another Debian 13 of this checkout is at work."
    make_root
    copy_checkout
    say "make $* in $COPY"
    exec unshare --mount --propagation private bash scripts/debian13.sh --enter "$@"
}

main "$@"
