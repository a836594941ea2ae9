#!/usr/bin/env bash
# The two images together: the broker becomes healthy, the worker becomes healthy on it, and stops in order on SIGTERM.
# What it starts it also removes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
eval "$(docker/engine.sh env)"
network=kafka-jobs-smoke-$$
kafka=$network-kafka
worker=$network-worker

cleanup() {
    local status=$?
    if ((status != 0)); then
        docker logs --tail 40 "$kafka" >&2 || true
        docker logs --tail 40 "$worker" >&2 || true
    fi
    docker rm --force --volumes "$worker" "$kafka" >/dev/null 2>&1 || true
    docker network rm "$network" >/dev/null 2>&1 || true
}
trap cleanup EXIT

await_healthy() {
    local began=$SECONDS state=
    while [[ $state != healthy ]]; do
        state=$(docker inspect --format '{{if .State.Running}}{{.State.Health.Status}}{{else}}gone{{end}}' "$1")
        if [[ $state == gone || $state == unhealthy ]] || ((SECONDS - began > 90)); then
            echo "error: $1 is $state after $((SECONDS - began)) s" >&2
            return 1
        fi
        sleep 0.5
    done
    echo "$1 is healthy after $((SECONDS - began)) s"
}

docker network create "$network" >/dev/null
docker run --detach --name "$kafka" --network "$network" \
    --env KAFKA_NODE_ID=1 --env KAFKA_PROCESS_ROLES=broker,controller \
    --env KAFKA_LISTENERS=PLAINTEXT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093 \
    --env "KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://$kafka:9092" \
    --env KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT \
    --env KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER --env KAFKA_CONTROLLER_QUORUM_VOTERS=1@127.0.0.1:9093 \
    --env KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1 --env KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0 \
    kafka-jobs/kafka:4.3.1 >/dev/null
await_healthy "$kafka"
docker run --detach --name "$worker" --network "$network" --env "KAFKA_BOOTSTRAP_SERVERS=$kafka:9092" \
    kafka-jobs/worker:latest >/dev/null
await_healthy "$worker"

user=$(docker exec "$worker" id -u)
[[ $user != 0 ]] || { echo "error: the worker runs as root" >&2; exit 1; }
docker stop --time 45 "$worker" >/dev/null
code=$(docker inspect --format '{{.State.ExitCode}}' "$worker")
[[ $code == 0 ]] || { echo "error: the worker ended with code $code on SIGTERM" >&2; exit 1; }
echo "the worker stopped in order"
