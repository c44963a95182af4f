#!/usr/bin/env bash
# Makes one topic per file of this folder and writes the file's lines (`key|value`) to it. Run inside the Kafka image.
set -euo pipefail

brokers=${BROKERS:-localhost:9092}
kafka=${KAFKA_HOME:-/opt/kafka}/bin

for file in "$(dirname "$0")"/*.events; do
    topic=$(basename "$file" .events)
    "$kafka/kafka-topics.sh" --bootstrap-server "$brokers" --create --if-not-exists --topic "$topic" --partitions 6
    "$kafka/kafka-console-producer.sh" --bootstrap-server "$brokers" --topic "$topic" \
        --property parse.key=true --property 'key.separator=|' < "$file"
    echo "$topic: $(wc -l < "$file") events written"
done
