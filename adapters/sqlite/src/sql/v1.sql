-- Categories, event names, encodings and tags: each text once.
CREATE TABLE names (
    name_id INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE
) STRICT;

-- The number of a stream is the sequence number of its first event: new streams lie together in every index.
CREATE TABLE streams (
    stream_id   INTEGER PRIMARY KEY,
    category_id INTEGER NOT NULL,
    name        TEXT NOT NULL,
    UNIQUE (category_id, name)
) STRICT;

-- Times are microseconds since 1970 in UTC; tags is a JSON array of name_id, NULL when there are none.
CREATE TABLE events (
    sequence_number INTEGER PRIMARY KEY,
    stream_id       INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    category_id     INTEGER NOT NULL,
    name_id         INTEGER NOT NULL,
    encoding_id     INTEGER NOT NULL,
    id              BLOB NOT NULL,
    occurred_at     INTEGER NOT NULL,
    recorded_at     INTEGER NOT NULL,
    tags            TEXT,
    metadata        BLOB,
    payload         BLOB NOT NULL
) STRICT;

-- Every index of a table ends with its key, so these are sorted by sequence number within a stream or category.
CREATE INDEX events_stream ON events (stream_id);
CREATE INDEX events_category ON events (category_id);
CREATE UNIQUE INDEX events_id ON events (id);

CREATE TABLE event_tags (
    tag_id          INTEGER NOT NULL,
    sequence_number INTEGER NOT NULL,
    PRIMARY KEY (tag_id, sequence_number)
) STRICT, WITHOUT ROWID;

-- For people and reports: names instead of numbers, JSON as text.
CREATE VIEW log AS
SELECT
    e.sequence_number,
    c.name AS category,
    s.name AS stream,
    e.position,
    n.name AS name,
    lower(substr(hex(e.id), 1, 8) || '-' || substr(hex(e.id), 9, 4) || '-' || substr(hex(e.id), 13, 4)
        || '-' || substr(hex(e.id), 17, 4) || '-' || substr(hex(e.id), 21)) AS id,
    strftime('%Y-%m-%dT%H:%M:%S', (e.occurred_at - (e.occurred_at % 1000000 + 1000000) % 1000000) / 1000000,
        'unixepoch') || printf('.%06dZ', (e.occurred_at % 1000000 + 1000000) % 1000000) AS occurred_at,
    strftime('%Y-%m-%dT%H:%M:%S', (e.recorded_at - (e.recorded_at % 1000000 + 1000000) % 1000000) / 1000000,
        'unixepoch') || printf('.%06dZ', (e.recorded_at % 1000000 + 1000000) % 1000000) AS recorded_at,
    x.name AS encoding,
    CASE x.name WHEN 'json' THEN CAST(e.payload AS TEXT) END AS json,
    CAST(e.metadata AS TEXT) AS metadata,
    (SELECT json_group_array(t.name) FROM json_each(e.tags) j JOIN names t ON t.name_id = j.value) AS tags,
    e.payload
FROM events e
JOIN streams s ON s.stream_id = e.stream_id
JOIN names c ON c.name_id = e.category_id
JOIN names n ON n.name_id = e.name_id
JOIN names x ON x.name_id = e.encoding_id;
