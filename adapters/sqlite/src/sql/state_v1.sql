-- The version of the tables of documents: one row.
CREATE TABLE state_schema (
    version INTEGER NOT NULL
) STRICT;
INSERT INTO state_schema (version) VALUES (0);

-- A revision is the UUID of the commit that put the document. Bodies are kept byte for byte.
CREATE TABLE state_documents (
    document_id INTEGER PRIMARY KEY,
    collection  TEXT NOT NULL,
    id          TEXT NOT NULL,
    revision    BLOB NOT NULL,
    encoding    TEXT NOT NULL,
    body        BLOB NOT NULL,
    UNIQUE (collection, id)
) STRICT;

-- Where documents are found beside their ids: keys are compared by bytes.
CREATE TABLE state_entries (
    collection  TEXT NOT NULL,
    name        TEXT NOT NULL,
    key         BLOB NOT NULL,
    id          TEXT NOT NULL,
    document_id INTEGER NOT NULL,
    PRIMARY KEY (collection, name, key, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX state_entries_document ON state_entries (document_id);

-- For people and reports: JSON as text.
CREATE VIEW state AS
SELECT
    d.collection,
    d.id,
    lower(substr(hex(d.revision), 1, 8) || '-' || substr(hex(d.revision), 9, 4) || '-'
        || substr(hex(d.revision), 13, 4) || '-' || substr(hex(d.revision), 17, 4) || '-'
        || substr(hex(d.revision), 21)) AS revision,
    d.encoding,
    CASE d.encoding WHEN 'json' THEN CAST(d.body AS TEXT) END AS json,
    (SELECT json_group_array(DISTINCT e.name) FROM state_entries e WHERE e.document_id = d.document_id) AS indexes,
    d.body
FROM state_documents d;
