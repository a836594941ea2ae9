#!/usr/bin/env bash
# Runs at the build of the image: starts a broker once, so that the JVM archives the classes it has loaded.
set -euo pipefail

logs=$(mktemp -d)
archive=/opt/kafka/classes.jsa
KAFKA_HEAP_OPTS="-Xmx512m -XX:ArchiveClassesAtExit=$archive.new" \
    KAFKA_NODE_ID=1 KAFKA_PROCESS_ROLES=broker,controller KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER \
    KAFKA_LISTENERS=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093 \
    KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT \
    KAFKA_CONTROLLER_QUORUM_VOTERS=1@127.0.0.1:9093 KAFKA_LOG_DIRS="$logs" \
    /etc/kafka/docker/run >"$logs/said" 2>&1 &
broker=$!
until (exec 3<>/dev/tcp/127.0.0.1/9092) 2>/dev/null; do
    kill -0 "$broker" || { tail -n 20 "$logs/said" >&2; exit 1; }
    sleep 0.2
done
kill "$broker"
wait "$broker" || true # 143: it has ended as it was told to
mv "$archive.new" "$archive"
rm -rf "$logs" /opt/kafka/config/*
