#!/bin/sh
# Creates .venv: a Python with exactly the packages of the lock files.
#
#   scripts/setup.sh          the packages for a run (requirements/<set>/base.txt)
#   scripts/setup.sh dev      also those for the tests (requirements/<set>/dev.txt); bench, onnx and gpu likewise
#   scripts/setup.sh --uv     only finds or installs uv, and prints its path
#
# The set of versions depends on this machine's glibc: the current one from 2.39 on, the old one below that (setup.py).
#
# Needs any Python 3 or uv, and the package index. Repeated calls are safe, and fast if nothing changed. Installed
# extras are kept. Messages go to standard error.
set -eu

UV_VERSION=0.13.9  # installed if there is no uv
UV_OLDEST_MINOR=5  # 0.5 is the oldest uv that this script was tested with
ZIG_VERSION=0.17.1 # the compiler used if there is no other
CURRENT_GLIBC=2.39 # required by the wheels of the current set

STAMP=.venv/.installed       # checksums of the installed lock files, written last
UNFINISHED=.venv/.installing # exists during an installation; afterwards it marks an incomplete .venv

say() { printf 'setup: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# Prints the executables on PATH whose name matches $1, in PATH's order.
on_path() (
    IFS=:
    for folder in $PATH; do
        for file in "$folder"/$1; do
            if [ -f "$file" ] && [ -x "$file" ]; then printf '%s\n' "$file"; fi
        done
    done
)

# Prints the Pythons in pyenv's versions folder whose version matches $1, newest first. (pyenv's shims work only for the
# selected versions.)
in_pyenv() {
    for file in "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/$1/bin/python3; do
        if [ -x "$file" ]; then printf '%s\n' "$file"; fi
    done | sort -rV
}

# Prints the real path of Python $1 if the Python expression $2 is true in it, and so also checks that it runs.
probe() {
    "$1" -c "import os, ssl, sys, sysconfig
sys.exit(1) if not ($2) else print(os.path.realpath(sys.executable))" </dev/null 2>/dev/null
}

# Prints the version of this machine's glibc; nothing with another C library.
glibc_version() {
    getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc //p'
}

# Whether version $1 is $2 or newer; only the first two numbers of each count.
at_least() {
    [ "${1%%.*}" -gt "${2%%.*}" ] && return
    minor=${1#*.}
    [ "${1%%.*}" -eq "${2%%.*}" ] && [ "${minor%%.*}" -ge "${2#*.}" ]
}

# Chooses the set of versions: its name, the reason, and the Pythons that it allows, best first.
choose_set() {
    glibc=$(glibc_version)
    if [ -z "$glibc" ]; then
        set_name=old pythons=3.10 reason='no glibc found'
    elif at_least "$glibc" "$CURRENT_GLIBC"; then
        set_name=current pythons='3.12 3.13 3.11' reason="glibc $glibc"
    else
        set_name=old pythons=3.10 reason="glibc $glibc is older than $CURRENT_GLIBC"
    fi
}

# Prints the first two numbers of the locked version of package $1.
locked() {
    sed -nE "s/^$1==([0-9]+\.[0-9]+).*/\1/p" "requirements/$set_name/base.txt"
}

# Prints a Python $1 with headers, which packages built from source need; nothing if there is none.
find_version() {
    {
        on_path "python$1"
        on_path python3
        in_pyenv "$1.*"
    } | while read -r python; do
        probe "$python" "'%d.%d' % sys.version_info[:2] == '$1' and
            os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h'))" && break
    done
}

# Prints the best Python of this machine for the set; nothing if there is none.
find_python() {
    for version in $pythons; do
        python=$(find_version "$version") || python=
        if [ -n "$python" ]; then
            printf '%s\n' "$python"
            break
        fi
    done
}

# Prints the first two numbers of the version of Python $1; if $1 is empty, of the one that uv will download.
python_version() {
    if [ -n "$1" ]; then
        "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
    else
        printf '%s\n' "${pythons%% *}"
    fi
}

# Prints the Pythons that may be able to install uv, each once.
find_pythons() {
    {
        on_path python3
        on_path 'python3.[0-9]'
        on_path 'python3.[0-9][0-9]'
        in_pyenv '3.*'
    } | while read -r python; do
        probe "$python" 'sys.version_info >= (3, 6)' || true
    done | awk '!seen[$0]++'
}

# Whether $1 is a working uv that is new enough: in a folder with a .python-version, a pyenv shim may fail.
is_uv() {
    version=$("$1" --version </dev/null 2>/dev/null) || return 1
    version=${version#uv }
    major=${version%%.*}
    minor=${version#*.}
    minor=${minor%%.*}
    case $major:$minor in *[!0-9:]* | :* | *:) return 1 ;; esac
    [ "$major" -gt 0 ] || [ "$minor" -ge "$UV_OLDEST_MINOR" ]
}

existing_uv() {
    {
        on_path uv
        echo .uv/bin/uv
    } | while read -r file; do
        if is_uv "$file"; then
            printf '%s\n' "$file"
            break
        fi
    done
}

# Installs uv with the pip of Python $1 and the options that follow. uv is one binary, so its required version of Python
# can be ignored.
pip_install_uv() {
    python=$1
    shift
    PIP_USER=0 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$python" -m pip install --quiet --ignore-requires-python "$@" "uv==$UV_VERSION" </dev/null >&2
}

# Installs uv into .uv with Python $1, in a separate environment. Returns 2 if that Python has neither venv nor pip.
install_uv() {
    rm -rf .uv
    if "$1" -m venv .uv >/dev/null 2>&1; then
        # The pip of an old Python may not support today's wheels; then pip is upgraded first.
        pip_install_uv .uv/bin/python 2>/dev/null || {
            .uv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip </dev/null >&2 &&
                pip_install_uv .uv/bin/python
        }
    elif "$1" -m pip --version >/dev/null 2>&1; then # no ensurepip: Debian without python3-venv
        rm -rf .uv
        pip_install_uv "$1" --target .uv
    else
        return 2
    fi
}

# Prints the path of uv, and installs it if there is none.
find_uv() {
    uv=$(existing_uv)
    if [ -z "$uv" ]; then
        say "installing uv $UV_VERSION into .uv"
        find_pythons | while read -r python; do
            status=0
            install_uv "$python" || status=$?
            [ "$status" -eq 2 ] || exit "$status"
        done || die "pip could not install uv (see its error above). Fix that or install uv, then repeat the command."
        uv=$(existing_uv)
    fi
    [ -n "$uv" ] || die "found no uv, and no Python 3 that can install it. Install uv or Python's venv module" \
        "(on Debian and Ubuntu: apt-get install python3-venv), then repeat the command."
    printf '%s\n' "$uv"
}

# Creates an empty .venv with Python $1; if $1 is empty, with one that uv downloads.
create_venv() {
    if [ -n "$1" ]; then
        say "creating .venv with $1"
        "$uv" venv --quiet --python "$1" .venv
    else
        say "creating .venv with a Python ${pythons%% *} from uv (this machine has none with headers)"
        "$uv" venv --python-preference only-managed --python "${pythons%% *}" .venv
    fi || die "could not create .venv (see the error above). Install one of these Pythons with headers, on PATH or in" \
        "pyenv: $pythons (on Debian and Ubuntu: python3-dev, if python3 is one of them), then repeat the command."
}

# pyfarmhash, which TFX needs, has no wheels. Without a C++ compiler, zig's is used for this installation only.
provide_compiler() {
    if [ -n "${CXX:-}" ] || [ -n "$(on_path g++)" ] || [ -n "$(on_path c++)" ]; then return; fi
    say "no C++ compiler found: using zig's for this installation (100 MB, a few minutes)"
    "$uv" pip install --quiet --python .venv/bin/python --target .uv/zig --only-binary :all: "ziglang==$ZIG_VERSION" ||
        die "could not install a compiler (see the error above). Install g++, then repeat the command."
    PATH=$PWD/.uv/zig/ziglang:$PATH
    # An explicit target: by default the code would use all instructions of this machine's processor.
    export CC='zig cc -target x86_64-linux-gnu' CXX='zig c++ -target x86_64-linux-gnu'
    export ZIG_GLOBAL_CACHE_DIR="$PWD/.uv/zig/cache"
}

# Installs exactly the packages of the lock files "$@" into .venv, and removes all others.
sync_packages() {
    say "installing $*"
    : >"$UNFINISHED"
    rm -f "$STAMP"
    provide_compiler
    # Packages from source are built with the locked setuptools too (-b), not with the newest one.
    "$uv" pip sync --python .venv/bin/python --require-hashes -b "requirements/$set_name/base.txt" "$@" ||
        die "could not install the packages (see the error above). Repeat the command to continue; downloads are kept."
    rm -rf .uv/zig
    sha256sum "$@" >"$UNFINISHED"
    mv "$UNFINISHED" "$STAMP"
}

# Prints the lock files for the extras "$@" and for those that .venv already has, even with the other set.
lock_files() {
    echo "requirements/$set_name/base.txt"
    for extra in dev bench onnx gpu; do
        case " $* " in
            *" $extra "*) echo "requirements/$set_name/$extra.txt" ;;
            *) if grep -qs "/$extra.txt" "$STAMP"; then echo "requirements/$set_name/$extra.txt"; fi ;;
        esac
    done
}

# Applies pip's settings for the index to uv.
share_pip_settings() {
    # The machine's certificates, if it has any: behind a company's proxy uv's own are not valid. (Older releases of uv
    # use the second name.)
    if [ -n "$(ls /etc/ssl/certs 2>/dev/null)" ]; then
        export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}" UV_NATIVE_TLS="${UV_NATIVE_TLS:-true}"
    fi
    if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_INDEX_URL="${UV_INDEX_URL:-$PIP_INDEX_URL}"; fi
    # A mirror may need more than uv's default of 30 s before it sends a wheel of 600 MB.
    export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-180}"
}

# Locks this file until the script ends, so that only one set-up runs at a time.
lock_setup() {
    exec 9<scripts/setup.sh
    if command -v flock >/dev/null && ! flock -n 9; then
        say "waiting for another set-up in this folder"
        flock 9 || say "this file system does not support locks: continuing without one"
    fi
}

main() {
    for extra in "$@"; do
        case $extra in
            dev | bench | onnx | gpu | --uv) ;;
            *)
                say "unknown argument '$extra'; usage: scripts/setup.sh [dev] [bench] [onnx] [gpu] | --uv"
                exit 2
                ;;
        esac
    done
    cd "$(dirname "$0")/.."
    lock_setup
    share_pip_settings
    if [ "${1:-}" = --uv ]; then
        find_uv
        return
    fi
    choose_set
    # Names of lock files contain no spaces.
    # shellcheck disable=SC2046
    set -- $(lock_files "$@")
    usable=$(probe .venv/bin/python "'%d.%d' % sys.version_info[:2] in '$pythons'.split()") || usable=
    python=${usable:-$(find_python)}
    say "$set_name versions ($reason): TFX $(locked tfx), TensorFlow $(locked tensorflow)," \
        "Python $(python_version "$python")"
    if [ -n "$usable" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$(sha256sum "$@")" ]; then
        say ".venv is up to date"
        return
    fi
    uv=$(find_uv)
    if [ -z "$usable" ] || [ -e "$UNFINISHED" ]; then
        rm -rf .venv
        create_venv "$python"
    fi
    sync_packages "$@"
    say ".venv is ready"
}

main "$@"
