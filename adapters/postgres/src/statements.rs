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
    /// The last sequence number of a category, and of a stream.
    pub(crate) last_of_category: String,
    pub(crate) last_of_stream: String,
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
    /// Whether the log has all these ids at these sequence numbers.
    pub(crate) has_all: String,
    /// Takes locks, in the order given.
    pub(crate) lock: String,
    /// Draws numbers, where the order is not that of the log.
    pub(crate) numbers: String,
    /// Makes names, where the order is not that of the log.
    pub(crate) make_names: String,
    /// Takes the lock of the log and inserts events, if the log has the event that they were judged to come after.
    pub(crate) insert: String,
    /// The same with new names, streams and tags.
    pub(crate) insert_all: String,
    by_numbers: [String; 2],
    of_stream: [String; 2],
}

impl Statements {
    /// `lock_timeout`: to be set in every transaction, where sessions are not the adapter's own.
    pub(crate) fn new(tables: &Tables, lock_timeout: Option<Duration>, order: Order) -> Self {
        let fill = |sql: &str| tables.fill(sql);
        let wait = match lock_timeout {
            Some(limit) => format!("set_config('lock_timeout', '{}', true), ", limit.as_millis()),
            None => String::new(),
        };
        let held = match order {
            Order::Log => format!("{wait}pg_advisory_xact_lock($1)"),
            // The locks of the weaker orders are taken before.
            _ => "$1::bigint".to_owned(),
        };
        let by_numbers = |order: &str| {
            fill(&format!(
                "SELECT {COLUMNS} FROM {{events}} e WHERE e.sequence_number = ANY($1) \
                 ORDER BY e.sequence_number{order}"
            ))
        };
        let columns = "sequence_number, stream_id, position, category_id, name_id, encoding_id, id, \
                       occurred_at, recorded_at, tags, metadata, payload";
        let insert = |more: &str| {
            fill(&format!(
                "WITH held AS MATERIALIZED (SELECT {held} WHERE $3::uuid IS NULL OR EXISTS \
                 (SELECT FROM {{events}} e WHERE e.sequence_number = $2 AND e.id = $3)){more} \
                 INSERT INTO {{events}} ({columns}) SELECT u.* FROM held, unnest($4::{{row}}[]) u"
            ))
        };
        let of_stream = |order: &str| {
            fill(&format!(
                "SELECT {COLUMNS} FROM {{events}} e WHERE e.stream_id = (SELECT s.stream_id FROM {{names}} c \
                 JOIN {{streams}} s ON s.category_id = c.name_id WHERE c.name = $1 AND s.name = $2) \
                 ORDER BY e.position{order} LIMIT $3"
            ))
        };
        let more = ", new_names AS (INSERT INTO {names} (name_id, name) \
             SELECT u.* FROM held, unnest($5::bigint[], $6::text[]) u), \
             new_streams AS (INSERT INTO {streams} (stream_id, category_id, name) \
             SELECT u.* FROM held, unnest($7::bigint[], $8::bigint[], $9::text[]) u), \
             new_tags AS (INSERT INTO {event_tags} (tag_id, sequence_number) \
             SELECT u.* FROM held, unnest($10::bigint[], $11::bigint[]) u)";
        Self {
            head: fill(
                "SELECT coalesce((SELECT max(sequence_number) FROM {events}), 0), \
                 coalesce((SELECT max(name_id) FROM {names}), 0)",
            ),
            last: fill("SELECT coalesce(max(sequence_number), 0) FROM {events}"),
            last_of_category: fill(
                "SELECT coalesce((SELECT max(e.sequence_number) FROM {events} e WHERE e.category_id = \
                 (SELECT c.name_id FROM {names} c WHERE c.name = $1)), 0)",
            ),
            last_of_stream: fill(
                "SELECT coalesce((SELECT e.sequence_number FROM {events} e WHERE e.stream_id = \
                 (SELECT s.stream_id FROM {names} c JOIN {streams} s ON s.category_id = c.name_id \
                 WHERE c.name = $1 AND s.name = $2) ORDER BY e.position DESC LIMIT 1), 0)",
            ),
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
            has_all: fill(
                "SELECT NOT EXISTS (SELECT FROM unnest($1::bigint[], $2::uuid[]) u (number, id) WHERE NOT EXISTS \
                 (SELECT FROM {events} e WHERE e.sequence_number = u.number AND e.id = u.id))",
            ),
            lock: format!(
                "SELECT {wait}pg_advisory_xact_lock(u.key) \
                 FROM unnest($1::bigint[]) WITH ORDINALITY u (key, nth)"
            ),
            numbers: fill("SELECT nextval({numbers_text}) FROM generate_series(1, $1::bigint)"),
            make_names: fill(&format!(
                "WITH held AS MATERIALIZED (SELECT {wait}1) \
                 INSERT INTO {{names}} (name_id, name) SELECT nextval({{numbers_text}}), u.name \
                 FROM held, (SELECT u.name FROM unnest($1::text[]) u (name) ORDER BY u.name) u \
                 ON CONFLICT (name) DO NOTHING"
            )),
            insert: insert(""),
            insert_all: insert(more),
            by_numbers: [by_numbers(""), by_numbers(" DESC")],
            of_stream: [of_stream(""), of_stream(" DESC")],
        }
    }

    /// The first events of a stream by name, from either end.
    pub(crate) fn of_stream(&self, direction: Direction) -> &str {
        let [forward, backward] = &self.of_stream;
        if direction == Direction::Forward { forward } else { backward }
    }

    /// The events of these numbers.
    pub(crate) fn by_numbers(&self, numbers: Vec<i64>, direction: Direction) -> Select {
        let [forward, backward] = &self.by_numbers;
        let sql = if direction == Direction::Forward { forward } else { backward };
        Select { sql: sql.clone(), parameters: vec![Parameter::Numbers(numbers)] }
    }
}
