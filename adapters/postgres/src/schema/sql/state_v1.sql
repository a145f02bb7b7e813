-- The version of the tables of documents: one row.
CREATE TABLE {state_meta} (
    is_only boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (is_only),
    version integer NOT NULL
);
INSERT INTO {state_meta} (version) VALUES (0);

-- A revision is the UUID of the commit that put the document. Bodies are kept byte for byte. Pages have room, so that
-- the next version of a document lies beside the last one.
CREATE TABLE {documents} (
    collection text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    revision   uuid NOT NULL,
    encoding   text NOT NULL,
    body       bytea NOT NULL,
    indexed    boolean NOT NULL,
    PRIMARY KEY (collection, id)
) WITH (fillfactor = 80);

-- Where documents are found beside their ids: keys are compared by bytes.
CREATE TABLE {entries} (
    collection text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    key        bytea NOT NULL,
    id         text COLLATE "C" NOT NULL,
    PRIMARY KEY (collection, name, key, id)
);
CREATE INDEX ON {entries} (collection, id);

-- Makes commits, each judged on its own; returns the writes whose expectations do not hold, with the revision that was
-- found. Nothing is made of a commit that has one. Writes come in the order of their documents, and no document is
-- written by two commits or by one and guarded by another. Kinds: 0 put, 1 delete, 2 guard. Expectations: 0 any,
-- 1 absent, 2 this revision.
CREATE FUNCTION {commit}(
    collections text[], ids text[], kinds smallint[], owners integer[], expects smallint[], expected uuid[],
    revisions uuid[], encodings text[], bodies bytea[], are_indexed boolean[],
    entry_of integer[], entry_owners integer[], entry_collections text[], entry_ids text[], entry_names text[],
    entry_keys bytea[], patience text
) RETURNS TABLE (refused_owner integer, refused_write integer, refused_found uuid) LANGUAGE plpgsql VOLATILE
SET lock_timeout = 0 SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $annals$
#variable_conflict use_column
DECLARE
    held     uuid[];
    failed   integer[];
    had      boolean;
    missing  bigint;
    guards   integer := cardinality(array_positions(kinds, 2::smallint));
    judged   boolean := false;
BEGIN
    PERFORM set_config('lock_timeout', patience, true);
    -- Several puts, each of a document that has a revision, perhaps behind guards: judged as they are written, which
    -- locks in the order of the documents too. Where one expectation does not hold, or a document loses its last entry,
    -- all of that is undone, and judged below.
    IF cardinality(ids) > guards + 1 AND 2 = ALL (expects) AND 0 = ALL (kinds[guards + 1:]) THEN
        BEGIN
            IF guards > 0 THEN
                SELECT guards - count(*) INTO missing
                FROM unnest(collections[:guards], ids[:guards], expected[:guards]) w (collection, id, expected)
                CROSS JOIN LATERAL (SELECT FROM {documents} d
                    WHERE d.collection = w.collection AND d.id = w.id AND d.revision = w.expected FOR SHARE) s;
                IF missing > 0 THEN
                    RAISE EXCEPTION 'not as expected' USING ERRCODE = 'AN001';
                END IF;
            END IF;
            UPDATE {documents} d
            SET revision = w.revision, encoding = w.encoding, body = w.body, indexed = w.indexed
            FROM unnest(collections, ids, kinds, expected, revisions, encodings, bodies, are_indexed)
                w (collection, id, kind, expected, revision, encoding, body, indexed)
            WHERE w.kind = 0 AND d.collection = w.collection AND d.id = w.id AND d.revision = w.expected
                AND (w.indexed OR NOT d.indexed);
            GET DIAGNOSTICS missing = ROW_COUNT;
            IF missing < cardinality(ids) - guards THEN
                RAISE EXCEPTION 'not as expected' USING ERRCODE = 'AN001';
            END IF;
            held := expected;
            had := true = ANY (are_indexed);
            judged := true;
        EXCEPTION WHEN SQLSTATE 'AN001' THEN
            NULL;
        END;
    END IF;

    IF NOT judged THEN
        -- All locks in one pass in the order of the documents: nobody waits in a circle.
        SELECT array_agg(coalesce(x.revision, s.revision) ORDER BY w.nth), coalesce(bool_or(x.indexed), false)
        INTO held, had
        FROM unnest(collections, ids, kinds) WITH ORDINALITY w (collection, id, kind, nth)
        LEFT JOIN LATERAL (SELECT d.revision, d.indexed FROM {documents} d
            WHERE d.collection = w.collection AND d.id = w.id AND w.kind < 2 FOR UPDATE) x ON true
        LEFT JOIN LATERAL (SELECT d.revision FROM {documents} d
            WHERE d.collection = w.collection AND d.id = w.id AND w.kind = 2 FOR SHARE) s ON true;

        SELECT array_agg(DISTINCT w.owner) INTO failed
        FROM unnest(owners, expects, expected, held) w (owner, expects, expected, held)
        WHERE CASE w.expects WHEN 0 THEN false WHEN 1 THEN w.held IS NOT NULL
            ELSE w.held IS DISTINCT FROM w.expected END;
        IF failed IS NOT NULL THEN
            RETURN QUERY SELECT w.owner, w.nth::integer, w.held
            FROM unnest(owners, expects, expected, held) WITH ORDINALITY w (owner, expects, expected, held, nth)
            WHERE CASE w.expects WHEN 0 THEN false WHEN 1 THEN w.held IS NOT NULL
                ELSE w.held IS DISTINCT FROM w.expected END
            ORDER BY w.nth;
        END IF;

        -- What must be absent and is not put is held by a row that is gone before the end.
        WITH wanted AS MATERIALIZED (
            SELECT w.*
            FROM unnest(collections, ids, revisions, encodings, bodies, are_indexed, kinds, owners, expects, held)
                WITH ORDINALITY w (collection, id, revision, encoding, body, indexed, kind, owner, expects, held, nth)
            WHERE w.held IS NULL AND (w.kind = 0 OR w.expects = 1) AND coalesce(w.owner <> ALL (failed), true)
        ), made AS (
            INSERT INTO {documents} (collection, id, revision, encoding, body, indexed)
            SELECT w.collection, w.id, w.revision, w.encoding, w.body, w.indexed FROM wanted w ORDER BY w.nth
            ON CONFLICT (collection, id) DO NOTHING RETURNING 1
        )
        SELECT (SELECT count(*) FROM wanted) - (SELECT count(*) FROM made) INTO missing;
        IF missing > 0 THEN
            RAISE EXCEPTION 'another commit made a document at the same time' USING ERRCODE = 'serialization_failure';
        END IF;

        UPDATE {documents} d
        SET revision = w.revision, encoding = w.encoding, body = w.body, indexed = w.indexed
        FROM unnest(collections, ids, revisions, encodings, bodies, are_indexed, kinds, owners, held)
            w (collection, id, revision, encoding, body, indexed, kind, owner, held)
        WHERE d.collection = w.collection AND d.id = w.id AND w.kind = 0 AND w.held IS NOT NULL
            AND coalesce(w.owner <> ALL (failed), true);

        IF 1 = ANY (kinds) OR 2 = ANY (kinds) THEN
            DELETE FROM {documents} d
            USING unnest(collections, ids, kinds, owners, expects, held) w (collection, id, kind, owner, expects, held)
            WHERE d.collection = w.collection AND d.id = w.id AND coalesce(w.owner <> ALL (failed), true)
                AND ((w.kind = 1 AND w.held IS NOT NULL) OR (w.kind > 0 AND w.held IS NULL AND w.expects = 1));
        END IF;
    END IF;

    IF had THEN
        DELETE FROM {entries} e
        USING unnest(collections, ids, kinds, owners, held) WITH ORDINALITY w (collection, id, kind, owner, held, nth)
        WHERE e.collection = w.collection AND e.id = w.id AND w.kind < 2 AND w.held IS NOT NULL
            AND coalesce(w.owner <> ALL (failed), true)
            AND (w.nth::integer, e.name, e.key) NOT IN
                (SELECT n.nth, n.name, n.key FROM unnest(entry_of, entry_names, entry_keys) n (nth, name, key));
    END IF;
    IF cardinality(entry_of) > 0 THEN
        INSERT INTO {entries} (collection, name, key, id)
        SELECT n.collection, n.name, n.key, n.id
        FROM unnest(entry_owners, entry_collections, entry_names, entry_keys, entry_ids) n (owner, collection, name, key, id)
        WHERE coalesce(n.owner <> ALL (failed), true)
        ON CONFLICT DO NOTHING;
    END IF;
END
$annals$;

-- For people and reports: JSON as jsonb.
CREATE VIEW {state} AS
SELECT
    d.collection,
    d.id,
    d.revision,
    d.encoding,
    CASE d.encoding WHEN 'json' THEN {to_jsonb}(d.body) END AS json,
    ARRAY(SELECT DISTINCT e.name FROM {entries} e WHERE e.collection = d.collection AND e.id = d.id) AS indexes,
    d.body
FROM {documents} d;
