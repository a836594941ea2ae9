#!/bin/sh
# Turns KAFKA_* into server.properties, formats the storage if it is new, and becomes the broker.
set -eu

export CLUSTER_ID="${CLUSTER_ID:-a2Fma2Etam9icy1sb2NhbA}"
# What the JVM has loaded at the build of the image: it starts in a third of the time.
classes=$( [ ! -f /opt/kafka/classes.jsa ] || echo -XX:SharedArchiveFile=/opt/kafka/classes.jsa )
logging=-Dlog4j2.configurationFile=/etc/kafka/docker/log4j2.yaml

# Storage that is formatted already is what a restart finds, not an error.
# shellcheck disable=SC2086 # several options in one variable, or none
said=$(java -XX:TieredStopAtLevel=1 $classes "$logging" -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker \
    --mounted-configs-dir /mnt/shared/config \
    --final-configs-dir /opt/kafka/config 2>&1) || case $said in
    *"already formatted"*) ;;
    *) printf '%s\n' "$said" >&2; exit 1 ;;
esac

# shellcheck disable=SC2086 # several options in one variable, as in Kafka's own scripts
exec java ${KAFKA_HEAP_OPTS:--Xms256m -Xmx512m} \
    ${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseG1GC -XX:MaxGCPauseMillis=20} $classes \
    -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true "$logging" -cp '/opt/kafka/libs/*' kafka.Kafka /opt/kafka/config/server.properties
