#!/usr/bin/env bash
# A Docker engine and base images where there is neither an engine nor an image registry: CI, or a plain Debian machine.
#
#   docker/engine.sh start    use the engine that answers, else (Debian, root) install one and start it by hand
#   docker/engine.sh env      print "export DOCKER_HOST=..." for the engine that start has started, if any
#   docker/engine.sh bases    make the base images kafka-jobs/jre and kafka-jobs/python from Debian's packages
#   docker/engine.sh stop     stop the engine that start has started, and no other
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=$root/build/engine
# Sockets go where their paths are short: the kernel allows 107 characters.
run=/run/kafka-jobs-$(printf '%s' "$root" | cksum | cut -d' ' -f1)
socket=unix://$run/docker.sock
pidfile=$run/docker.pid

note() { printf '%s\n' "$*" >&2; }
fail() { note "error: $*"; exit 1; }

answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
ours_runs() { [[ -s $pidfile ]] && kill -0 "$(cat "$pidfile")" 2>/dev/null; }
use_ours() { if ours_runs; then export DOCKER_HOST=$socket; fi; }

need_debian_root() {
    [[ $(id -u) == 0 ]] || fail "$1 needs root. Start a Docker engine yourself, or use the embedded broker (make run)."
    command -v apt-get >/dev/null || fail "$1 works on Debian and Ubuntu only. Install and start a Docker engine yourself."
}

# install PROGRAM PACKAGE...: nothing happens when the program is there.
install() {
    local program=$1
    shift
    if command -v "$program" >/dev/null; then return; fi
    need_debian_root "Installing $*"
    note "Installing $* ..."
    mkdir -p "$state"
    {
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
    } >"$state/apt.log" 2>&1 || { tail -n 20 "$state/apt.log" >&2; fail "apt-get could not install $*"; }
}

start() {
    use_ours
    if answers; then note "Docker engine $(docker version --format '{{.Server.Version}}') answers"; return; fi
    unset DOCKER_HOST
    install dockerd docker.io iptables ca-certificates
    # Where the system starts services, the package has just started one.
    if answers; then note "Docker engine answers"; return; fi
    need_debian_root "Starting a Docker engine"
    launch
    export DOCKER_HOST=$socket
    await_engine
}

launch() {
    mkdir -p "$state" "$run"
    rm -f "$pidfile"
    note "Starting dockerd (log: $state/dockerd.log) ..."
    # Not the caller's descriptors: who waits for the end of our output must not wait for the engine's end.
    setsid dockerd --host "$socket" --pidfile "$pidfile" --data-root "$state/data" --exec-root "$run/exec" \
        </dev/null >"$state/dockerd.log" 2>&1 &
    dockerd=$!
}

await_engine() {
    local began=$SECONDS
    until answers; do
        if ! kill -0 "$dockerd" 2>/dev/null || ((SECONDS - began > 60)); then
            tail -n 20 "$state/dockerd.log" >&2
            fail "dockerd did not come up; its log is $state/dockerd.log"
        fi
        sleep 0.2
    done
    note "Docker engine $(docker version --format '{{.Server.Version}}') is ready after $((SECONDS - began)) s"
}

stop() {
    if ! ours_runs; then note "No engine of this checkout is running"; return; fi
    local pid
    pid=$(cat "$pidfile")
    kill "$pid"
    # It stops its containers first.
    while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
    rm -rf "$run"
    note "Docker engine stopped"
}

# base NAME PACKAGES: a minimal system with these packages, as an image. Kept when it is already there.
base() {
    local image=$1 packages=$2 codename tarball
    if docker image inspect "$image" >/dev/null 2>&1; then note "$image is there"; return; fi
    install mmdebstrap mmdebstrap
    need_debian_root "Making $image"
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    note "Making $image from the packages of $codename ..."
    mkdir -p "$state"
    tarball=$(mktemp "$state/base-XXXXXX.tar")
    # shellcheck disable=SC2016 # mmdebstrap's own shell expands $1
    mmdebstrap --quiet --variant=minbase --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='rm -rf "$1"/var/cache/apt/*' \
        "$codename" "$tarball" 2>"$state/mmdebstrap.log" ||
        { tail -n 20 "$state/mmdebstrap.log" >&2; rm -f "$tarball"; fail "mmdebstrap could not make $image"; }
    docker import "$tarball" "$image" >/dev/null
    rm -f "$tarball"
    note "$image: $(docker image inspect --format '{{.Size}}' "$image" | awk '{printf "%d MB", $1 / 1e6}')"
}

bases() {
    use_ours
    answers || fail "no Docker engine answers; run docker/engine.sh start"
    base kafka-jobs/jre:local default-jre-headless
    base kafka-jobs/python:local python3,python3-venv,ca-certificates,tzdata
}

case ${1:-} in
    start) start ;;
    stop) stop ;;
    env) if ours_runs; then printf 'export DOCKER_HOST=%q\n' "$socket"; fi ;;
    bases) bases ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
