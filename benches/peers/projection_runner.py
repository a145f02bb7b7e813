"""Counts the events of each stream with the ProjectionRunner of the Python library eventsourcing.

Called with the URL of a PostgreSQL server, a number of events, and the payload of each as JSON. Prints a line of JSON: the
version of the library and how many events a second were counted. Needs `pip install "eventsourcing[postgres]==9.5.6"`.
"""

import json
import sys
import time
import uuid
from importlib.metadata import version

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

STREAMS = 1_000
A_SAVE = 20


class Order(Aggregate):
    @event("Opened")
    def __init__(self, number):
        self.number = number

    @event("LineAdded")
    def add_line(self, line):
        pass


class Orders(Application):
    pass


class Counts(PostgresTrackingRecorder):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        table = Identifier("counts")
        if self.datastore.schema:
            table = Identifier(self.datastore.schema, "counts")
        self.sql_create_statements.append(
            SQL("CREATE TABLE IF NOT EXISTS {} (stream text PRIMARY KEY, events bigint)").format(table)
        )
        self.upsert = SQL(
            "INSERT INTO {} AS c VALUES (%s, 1) ON CONFLICT (stream) DO UPDATE SET events = c.events + 1"
        ).format(table)
        self.sum = SQL("SELECT coalesce(sum(events), 0)::bigint AS sum FROM {}").format(table)

    def count(self, stream, tracking):
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(self.upsert, (stream,), prepare=True)

    def counted(self):
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(self.sum)
            return cursor.fetchone()["sum"]


class Counting(Projection[Counts]):
    name = "counts"

    def process_event(self, domain_event, tracking):
        self.view.count(str(domain_event.originator_id), tracking)


def main(url, events, payload):
    place = conninfo_to_dict(url)
    schema = f"eventsourcing_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": place.get("dbname", "postgres"),
        "POSTGRES_HOST": place.get("host", "localhost"),
        "POSTGRES_PORT": str(place.get("port", 5432)),
        "POSTGRES_USER": place.get("user", "postgres"),
        "POSTGRES_PASSWORD": place.get("password", "") or "unused",
        "POSTGRES_SCHEMA": schema,
    }
    line = json.loads(payload)
    app = Orders(env)
    orders = [Order(number) for number in range(min(STREAMS, -(-events // A_SAVE)))]
    left, nth, last = events, 0, None
    while left > 0:
        order = orders[nth % len(orders)]
        lines = min(left, A_SAVE)
        # Its first event is one of them.
        for _ in range(lines - (nth < len(orders))):
            order.add_line(line)
        recordings = app.save(order)
        last = recordings[-1].notification.id
        left, nth = left - lines, nth + 1
    app.close()

    begun = time.perf_counter()
    with ProjectionRunner(
        application_class=Orders, projection_class=Counting, view_class=Counts, env=env
    ) as runner:
        runner.wait(last, timeout=3_600)
        took = time.perf_counter() - begun
        counted = runner.projection.view.counted()
    assert counted == events, f"{counted} of {events}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))
    print(json.dumps({"version": version("eventsourcing"), "rate": events / took}))


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
