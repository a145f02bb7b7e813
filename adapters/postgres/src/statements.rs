//! The text of statements.

use std::time::Duration;

use annals::{Direction, Order};
use annals_sql::{COLUMNS, Parameter, Select};

use crate::tables::Tables;

/// The statements of one log.
#[derive(Debug)]
pub(crate) struct Statements {
    /// The last sequence number and the last number of a name.
    pub(crate) head: String,
    /// The last sequence number.
    pub(crate) last: String,
    /// Numbers of names.
    pub(crate) names: String,
    /// Names of numbers.
    pub(crate) names_by_id: String,
    /// Numbers and last positions of streams.
    pub(crate) streams: String,
    /// Streams of numbers.
    pub(crate) streams_by_id: String,
    /// Which ids are known.
    pub(crate) ids: String,
    /// The sequence number of one id.
    pub(crate) number_of_id: String,
    /// Takes locks, in the order given.
    pub(crate) lock: String,
    /// Draws numbers, where the order is not that of the log.
    pub(crate) numbers: String,
    /// Makes names, where the order is not that of the log.
    pub(crate) make_names: String,
    /// Takes the lock of the log and inserts events.
    pub(crate) insert: String,
    /// The same with new names, streams and tags.
    pub(crate) insert_all: String,
    by_numbers: [String; 2],
}

impl Statements {
    pub(crate) fn new(tables: &Tables, lock_timeout: Duration, order: Order) -> Self {
        let fill = |sql: &str| tables.fill(sql);
        // In every transaction, not in the session: a pooler may give each one another session.
        let wait = format!("set_config('lock_timeout', '{}', true)", lock_timeout.as_millis());
        let held = match order {
            Order::Log => format!("{wait}, pg_advisory_xact_lock($1)"),
            // The locks of the weaker orders are taken before.
            _ => "$1::bigint".to_owned(),
        };
        let by_numbers = |order: &str| {
            fill(&format!(
                "SELECT {COLUMNS} FROM {{events}} e WHERE e.sequence_number = ANY($1) \
                 ORDER BY e.sequence_number{order}"
            ))
        };
        let insert = |more: &str| {
            fill(&format!(
                "WITH held AS MATERIALIZED (SELECT {held}){more} \
                 INSERT INTO {{events}} (sequence_number, stream_id, position, category_id, name_id, \
                 encoding_id, id, occurred_at, recorded_at, tags, metadata, payload) \
                 SELECT u.sequence_number, u.stream_id, u.position, u.category_id, u.name_id, u.encoding_id, \
                 u.id, u.occurred_at, u.recorded_at, u.tags::bigint[], u.metadata, u.payload \
                 FROM held, unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], \
                 $7::bigint[], $8::uuid[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::bytea[], \
                 $13::bytea[]) AS u (sequence_number, stream_id, position, category_id, name_id, encoding_id, \
                 id, occurred_at, recorded_at, tags, metadata, payload)"
            ))
        };
        let more = ", new_names AS (INSERT INTO {names} (name_id, name) \
             SELECT u.* FROM held, unnest($14::bigint[], $15::text[]) u), \
             new_streams AS (INSERT INTO {streams} (stream_id, category_id, name) \
             SELECT u.* FROM held, unnest($16::bigint[], $17::bigint[], $18::text[]) u), \
             new_tags AS (INSERT INTO {event_tags} (tag_id, sequence_number) \
             SELECT u.* FROM held, unnest($19::bigint[], $20::bigint[]) u)";
        Self {
            head: fill(
                "SELECT coalesce((SELECT max(sequence_number) FROM {events}), 0), \
                 coalesce((SELECT max(name_id) FROM {names}), 0)",
            ),
            last: fill("SELECT coalesce(max(sequence_number), 0) FROM {events}"),
            names: fill("SELECT name_id, name FROM {names} WHERE name = ANY($1)"),
            names_by_id: fill("SELECT name_id, name FROM {names} WHERE name_id = ANY($1)"),
            streams: fill(
                "SELECT u.nth, s.stream_id, (SELECT e.position FROM {events} e \
                 WHERE e.stream_id = s.stream_id ORDER BY e.position DESC LIMIT 1) \
                 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY u (category, name, nth) \
                 JOIN {names} c ON c.name = u.category \
                 JOIN {streams} s ON s.category_id = c.name_id AND s.name = u.name",
            ),
            streams_by_id: fill(
                "SELECT s.stream_id, c.name, s.name FROM {streams} s \
                 JOIN {names} c ON c.name_id = s.category_id WHERE s.stream_id = ANY($1)",
            ),
            ids: fill("SELECT id FROM {events} WHERE id = ANY($1)"),
            number_of_id: fill("SELECT sequence_number FROM {events} WHERE id = $1"),
            lock: format!(
                "SELECT {wait}, pg_advisory_xact_lock(u.key) \
                 FROM unnest($1::bigint[]) WITH ORDINALITY u (key, nth)"
            ),
            numbers: fill("SELECT nextval({numbers_text}) FROM generate_series(1, $1::bigint)"),
            make_names: fill(
                "INSERT INTO {names} (name_id, name) SELECT nextval({numbers_text}), u.name \
                 FROM (SELECT u.name FROM unnest($1::text[]) u (name) ORDER BY u.name) u \
                 ON CONFLICT (name) DO NOTHING",
            ),
            insert: insert(""),
            insert_all: insert(more),
            by_numbers: [by_numbers(""), by_numbers(" DESC")],
        }
    }

    /// The events of these numbers.
    pub(crate) fn by_numbers(&self, numbers: Vec<i64>, direction: Direction) -> Select {
        let [forward, backward] = &self.by_numbers;
        let sql = if direction == Direction::Forward { forward } else { backward };
        Select { sql: sql.clone(), parameters: vec![Parameter::Numbers(numbers)] }
    }
}
