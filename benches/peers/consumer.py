"""The consumer that is written first: poll, an upsert for every event, and offsets committed to Kafka after the transaction.

Ends when it has read everything that the topic held at its start. Between the two commits a crash counts events twice.

consumer.py BROKERS TOPIC GROUP POSTGRES
"""

import json
import sys
from decimal import Decimal

import psycopg
from confluent_kafka import Consumer, TopicPartition

EVENTS_PER_TRANSACTION = 500

FOLD = """
    insert into peer_orders as o (order_id, events, quantity, amount, carrier, tracking, status, version)
    values (%s, 1, %s, %s, %s, %s, %s, %s)
    on conflict (order_id) do update set
        events = o.events + 1,
        quantity = o.quantity + excluded.quantity,
        amount = o.amount + excluded.amount,
        carrier = excluded.carrier,
        tracking = excluded.tracking,
        status = excluded.status,
        version = excluded.version
"""


def parameters(message):
    event = json.loads(message.value(), parse_float=Decimal)
    data = event["data"]
    return (
        message.key().decode(),
        data["quantity"],
        data["amount"],
        data["carrier"],
        data["tracking"],
        data["status"],
        event["version"],
    )


def records_in(consumer, topic):
    partitions = consumer.list_topics(topic).topics[topic].partitions
    offsets = [consumer.get_watermark_offsets(TopicPartition(topic, p)) for p in partitions]
    return sum(end - first for first, end in offsets)


def main(brokers, topic, group, postgres):
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    left = records_in(consumer, topic)
    consumer.subscribe([topic])
    with psycopg.connect(postgres) as connection:
        while left > 0:
            messages = consumer.consume(EVENTS_PER_TRANSACTION, timeout=0.1)
            if not messages:
                continue
            for message in messages:
                if message.error():
                    raise RuntimeError(message.error())
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(FOLD, [parameters(message) for message in messages])
            consumer.commit(asynchronous=False)
            left -= len(messages)
    consumer.close()


main(*sys.argv[1:])
