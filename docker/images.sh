#!/usr/bin/env bash
# Build the project's images: kafka-jobs/kafka and kafka-jobs/worker.
#
#   docker/images.sh [kafka] [worker]    both when none is named
#   docker/images.sh bases               only what they are made of, which needs no virtual environment
#
# The base images are pulled where an image registry answers, else made from Debian's packages (docker/engine.sh bases).
# JRE_BASE and PYTHON_BASE name others. Run with the virtual environment made (make setup).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
python=.venv/bin/python
kafka_version=4.3.1
jre_base=${JRE_BASE:-eclipse-temurin:21-jre}

note() { printf '%s\n' "$*" >&2; }
fail() { note "error: $*"; exit 1; }
minor() { "$@" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# usable_base WANTED LOCAL: the wanted image if it is here or can be pulled, else the one made from packages.
usable_base() {
    if docker image inspect "$2" >/dev/null 2>&1; then echo "$2"; return; fi
    if docker image inspect "$1" >/dev/null 2>&1 || docker pull "$1" >&2; then echo "$1"; return; fi
    note "$1 cannot be pulled; making a base image from packages instead"
    docker/engine.sh bases
    echo "$2"
}

build() {
    local image=$1 dockerfile=$2 base=$3 context=$4
    note "Building $image on $base ..."
    docker build --quiet --file "$dockerfile" --build-arg "BASE=$base" --tag "$image" "$context" >/dev/null
    note "$image: $(docker image inspect --format '{{.Size}}' "$image" | awk '{printf "%d MB", $1 / 1e6}')"
}

python_base() {
    local host=$python
    [[ -x $host ]] || host=python3
    usable_base "${PYTHON_BASE:-python:$(minor "$host")-slim}" kafka-jobs/python:local
}

bases() { usable_base "$jre_base" kafka-jobs/jre:local >/dev/null; python_base >/dev/null; }

build_kafka() {
    local context=build/images/kafka jars
    jars=$("$python" docker/toolchain.py docker/broker/pom.xml)
    rm -rf "$context"
    mkdir -p "$context/libs" "$context/config"
    cp "$jars"/*.jar "$context/libs/"
    cp docker/broker/log4j2.yaml docker/broker/server.properties "$context/config/"
    cp docker/broker/log4j2.yaml "$context/config/tools-log4j2.yaml"
    cp docker/kafka/entrypoint.sh docker/kafka/archive.sh "$context/"
    build "kafka-jobs/kafka:$kafka_version" docker/kafka/Dockerfile "$(usable_base "$jre_base" kafka-jobs/jre:local)" "$context"
}

build_worker() {
    local context=build/images/worker base
    base=$(python_base)
    collect_wheels "$base" "$context/wheelhouse"
    build kafka-jobs/worker:latest docker/worker/Dockerfile "$base" "$context"
}

# The worker's wheels, for the Python of the base image. Those of its dependencies are kept until the lock changes.
collect_wheels() {
    local base=$1 wheels=$2 lock=docker/worker/requirements.lock wanted host stamp
    wanted=$(docker run --rm "$base" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    host=$(host_python "$wanted")
    stamp=$wheels/.made-for-$wanted-$(cksum <"$lock" | cut -d' ' -f1)
    if [[ ! -f $stamp ]]; then
        rm -rf "$wheels"
        note "Collecting the worker's wheels for Python $wanted ..."
        .venv/bin/python -m pip --python "$host" wheel --quiet --disable-pip-version-check --wheel-dir "$wheels" --require-hashes -r "$lock"
        touch "$stamp"
    fi
    rm -f "$wheels"/kafka_jobs-*.whl
    .venv/bin/python -m pip --python "$host" wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$wheels" .
}

# A Python of this version on the host: wheels are made for one version.
host_python() {
    local candidate
    for candidate in "$root/$python" "/usr/bin/python3" "$(command -v "python$1" || true)"; do
        if [[ -x $candidate && $(minor "$candidate") == "$1" ]]; then echo "$candidate"; return; fi
    done
    fail "the base image has Python $1 and this machine has not; set PYTHON_BASE to an image with Python $(minor "$python")"
}

[[ -x $python || $* == bases ]] || fail "no virtual environment; run make setup"
eval "$(docker/engine.sh env)"
docker version >/dev/null 2>&1 || fail "no Docker engine answers; start one, or on Debian run: make engine"
if (($# == 0)); then set -- kafka worker; fi
for image in "$@"; do
    case $image in
        bases) bases ;;
        kafka) build_kafka ;;
        worker) build_worker ;;
        *) fail "no such image: $image (kafka, worker, bases)" ;;
    esac
done
