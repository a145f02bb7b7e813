-- The version of the schema, and the order that appends keep: one row.
CREATE TABLE {meta} (
    is_only boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (is_only),
    version integer NOT NULL,
    ordered text NOT NULL CHECK (ordered IN ('log', 'category', 'stream'))
);
INSERT INTO {meta} (version, ordered) VALUES (0, '{order}');

-- Categories, event names, encodings and tags: each text once. Compared by bytes, whatever the database's collation.
CREATE TABLE {names} (
    name_id bigint NOT NULL PRIMARY KEY,
    name    text COLLATE "C" NOT NULL UNIQUE
);

-- The number of a stream is the sequence number of its first event: new streams lie together in every index.
CREATE TABLE {streams} (
    stream_id   bigint NOT NULL PRIMARY KEY,
    category_id bigint NOT NULL,
    name        text COLLATE "C" NOT NULL,
    UNIQUE (category_id, name)
);

-- Payload and metadata are kept byte for byte; tags holds name_id, NULL when there are none.
CREATE TABLE {events} (
    sequence_number bigint NOT NULL PRIMARY KEY,
    stream_id       bigint NOT NULL,
    position        bigint NOT NULL,
    category_id     bigint NOT NULL,
    name_id         bigint NOT NULL,
    encoding_id     bigint NOT NULL,
    id              uuid NOT NULL CONSTRAINT {events_id} UNIQUE,
    occurred_at     timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL,
    tags            bigint[],
    metadata        bytea,
    payload         bytea NOT NULL,
    UNIQUE (stream_id, position)
);
CREATE INDEX ON {events} (category_id, sequence_number);

-- A row of events as writers send it. It stays as it is when the table gets a further column.
CREATE TYPE {row} AS (
    sequence_number bigint,
    stream_id       bigint,
    position        bigint,
    category_id     bigint,
    name_id         bigint,
    encoding_id     bigint,
    id              uuid,
    occurred_at     timestamptz,
    recorded_at     timestamptz,
    tags            bigint[],
    metadata        bytea,
    payload         bytea
);

CREATE TABLE {event_tags} (
    tag_id          bigint NOT NULL,
    sequence_number bigint NOT NULL,
    PRIMARY KEY (tag_id, sequence_number)
);

-- Numbers of the weaker orders, which several appends draw at once. The order of the whole log needs none.
CREATE SEQUENCE {numbers} AS bigint MINVALUE 1;

-- How many events of a stream have sequence numbers up to this one: the position of the first that has a later one.
CREATE FUNCTION {seek}(stream bigint, number bigint) RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL SAFE AS $annals$
DECLARE
    low     bigint := 0;
    high    bigint;
    middle  bigint;
    reached bigint;
BEGIN
    SELECT e.position + 1 INTO high FROM {events} e WHERE e.stream_id = stream ORDER BY e.position DESC LIMIT 1;
    high := coalesce(high, 0);
    WHILE low < high LOOP
        middle := low + (high - low) / 2;
        SELECT e.sequence_number INTO reached FROM {events} e WHERE e.stream_id = stream AND e.position = middle;
        IF reached <= number THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END
$annals$;

-- JSON as PostgreSQL can query it; NULL where it cannot hold it, such as U+0000 in a string.
CREATE FUNCTION {to_jsonb}(bytes bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $annals$
BEGIN
    RETURN convert_from(bytes, 'UTF8')::jsonb;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$annals$;

-- For people and reports: names instead of numbers, JSON as jsonb.
CREATE VIEW {log} AS
SELECT
    e.sequence_number,
    c.name AS category,
    s.name AS stream,
    e.position,
    n.name AS name,
    e.id,
    e.occurred_at,
    e.recorded_at,
    x.name AS encoding,
    CASE x.name WHEN 'json' THEN {to_jsonb}(e.payload) END AS json,
    {to_jsonb}(e.metadata) AS metadata,
    ARRAY(SELECT t.name FROM unnest(e.tags) WITH ORDINALITY u (tag_id, nth)
          JOIN {names} t ON t.name_id = u.tag_id ORDER BY u.nth) AS tags,
    e.payload
FROM {events} e
JOIN {streams} s ON s.stream_id = e.stream_id
JOIN {names} c ON c.name_id = e.category_id
JOIN {names} n ON n.name_id = e.name_id
JOIN {names} x ON x.name_id = e.encoding_id;
