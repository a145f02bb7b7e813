//! The text of statements.

use std::time::Duration;

use annals::{Direction, Order};
use annals_sql::{COLUMNS, Listing, Parameter, Select};

use crate::schema::tables::Tables;

/// The statements of one log.
#[derive(Debug)]
pub(crate) struct Statements {
    /// The last sequence number with its event's id, the last number of a name, the [history](Self::history), and the
    /// types of a row of events and of a list of them.
    pub(crate) head: String,
    /// What shows whether the store is the one that something was remembered of: its mark, and whether it has this event
    /// (or `NULL`, `NULL`).
    pub(crate) history: String,
    /// Whether this event (or none) is the last one of a log of this mark.
    pub(crate) is_last: String,
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
    /// Takes locks without waiting; the keys of those that others hold.
    pub(crate) try_lock: String,
    /// Draws numbers, where the order is not that of the log.
    pub(crate) numbers: String,
    /// Makes names, where the order is not that of the log.
    pub(crate) make_names: String,
    /// Takes the lock of the log and inserts events, if the log has the event that they were judged to come after, and
    /// the mark.
    pub(crate) insert: String,
    /// The same with new names, streams and tags.
    pub(crate) insert_all: String,
    /// What a watcher compares; see `watch::Seen`.
    pub(crate) seen: String,
    /// Lists of categories, and of the streams of one.
    pub(crate) list_categories: String,
    pub(crate) list_streams: String,
    by_numbers: [String; 2],
    of_stream: [String; 2],
    around: Around,
}

/// What is put around a statement of events.
#[derive(Debug)]
struct Around {
    head: String,
    mark: String,
    /// With `$N` and `$I` for its parameters.
    has: String,
}

impl Around {
    fn head(&self, sql: &str, parameters: usize) -> String {
        let [number, id] = [1, 2].map(|more| format!("${}", parameters + more));
        let Self { head, mark, has } = self;
        let has = has.replace("$N", &number).replace("$I", &id);
        format!(
            "SELECT e.*, h.* FROM (SELECT {head} AS head, {mark} AS mark, {has} AS has) h \
             LEFT JOIN LATERAL ({sql}) e ON true"
        )
    }
}

/// The mark of a store: another server, a server that was started again, and tables that were emptied or made anew have
/// another one.
const MARK: &str = "((date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint \
    # (pg_relation_filenode({names_text}::regclass)::bigint << 20) \
    # (pg_relation_filenode({events_text}::regclass)::bigint << 42))";

/// Whether the log has the event of this number and id, or none is asked for.
fn has(number: &str, id: &str) -> String {
    format!(
        "({id}::uuid IS NULL OR EXISTS \
         (SELECT FROM {{events}} e WHERE e.sequence_number = {number}::bigint AND e.id = {id}))"
    )
}

/// What inserts new names, streams and tags beside events.
const MORE: &str = ", new_names AS (INSERT INTO {names} (name_id, name) \
    SELECT u.* FROM held, unnest($6::bigint[], $7::text[]) u), \
    new_streams AS (INSERT INTO {streams} (stream_id, category_id, name) \
    SELECT u.* FROM held, unnest($8::bigint[], $9::bigint[], $10::text[]) u), \
    new_tags AS (INSERT INTO {event_tags} (tag_id, sequence_number) \
    SELECT u.* FROM held, unnest($11::bigint[], $12::bigint[]) u)";

/// Inserts events, and `more`, once `held` was evaluated.
fn insert(held: &str, more: &str) -> String {
    let columns = "sequence_number, stream_id, position, category_id, name_id, encoding_id, id, \
                   occurred_at, recorded_at, tags, metadata, payload";
    let has = has("$2", "$3");
    format!(
        "WITH held AS MATERIALIZED (SELECT {held} WHERE ($4::bigint IS NULL OR $4 = {MARK}) AND {has}){more} \
         INSERT INTO {{events}} ({columns}) SELECT u.* FROM held, unnest($5::{{row}}[]) u"
    )
}

/// The last event, what changes with every commit, and the history of the store.
fn seen(order: Order) -> String {
    let has = has("$1", "$2");
    let commits = if order == Order::Log { "''" } else { "pg_current_snapshot()::text" };
    format!(
        "SELECT coalesce(l.sequence_number, 0), l.id, {commits}, {MARK}, {has} FROM (SELECT) v LEFT JOIN \
         (SELECT e.sequence_number, e.id FROM {{events}} e ORDER BY e.sequence_number DESC LIMIT 1) l ON true"
    )
}

/// Statements that take locks, and that take those that nobody holds.
fn take_locks(wait: &str) -> [String; 2] {
    let keys = "unnest($1::bigint[]) WITH ORDINALITY u (key, nth)";
    let taken = "pg_try_advisory_xact_lock(u.key) AS taken";
    [
        format!("SELECT {wait}pg_advisory_xact_lock(u.key) FROM {keys}"),
        format!(
            "SELECT l.key FROM (SELECT {wait}u.key, {taken} FROM {keys} OFFSET 0) l WHERE NOT l.taken"
        ),
    ]
}

impl Statements {
    /// `lock_timeout`: to be set in every transaction, where sessions are not the adapter's own.
    pub(crate) fn new(tables: &Tables, lock_timeout: Option<Duration>, order: Order) -> Self {
        let fill = |sql: &str| tables.fill(sql);
        let wait = match lock_timeout {
            Some(limit) => format!("set_config('lock_timeout', '{}', true), ", limit.as_millis()),
            None => String::new(),
        };
        let [lock, try_lock] = take_locks(&wait);
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
        let around = Around {
            head: fill("(SELECT coalesce(max(sequence_number), 0) FROM {events})"),
            mark: fill(MARK),
            has: fill(&has("$N", "$I")),
        };
        let of_stream = |order: &str| {
            let sql = fill(&format!(
                "SELECT {COLUMNS} FROM {{events}} e WHERE e.stream_id = (SELECT s.stream_id FROM {{names}} c \
                 JOIN {{streams}} s ON s.category_id = c.name_id WHERE c.name = $1 AND s.name = $2) \
                 ORDER BY e.position{order} LIMIT $3"
            ));
            around.head(&sql, 3)
        };
        let (names, streams, events) = (fill("{names}"), fill("{streams}"), fill("{events}"));
        let listing = Listing {
            parameter: "$",
            names: &names,
            streams: &streams,
            events: &events,
            key: "position",
        };
        Self {
            head: fill(&format!(
                "SELECT coalesce(l.sequence_number, 0), l.id, \
                 coalesce((SELECT max(name_id) FROM {{names}}), 0), {MARK}, {}, t.oid, t.typarray \
                 FROM pg_type t LEFT JOIN (SELECT e.sequence_number, e.id FROM {{events}} e \
                 ORDER BY e.sequence_number DESC LIMIT 1) l ON true WHERE t.oid = {{row_text}}::regtype",
                has("$1", "$2"),
            )),
            history: fill(&format!("SELECT {MARK}, {}", has("$1", "$2"))),
            is_last: fill(&format!(
                "SELECT {MARK} = $3::bigint AND {} AND NOT EXISTS \
                 (SELECT FROM {{events}} e WHERE e.sequence_number > coalesce($1::bigint, 0))",
                has("$1", "$2"),
            )),
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
                "SELECT u.nth, s.stream_id, l.position, l.id \
                 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY u (category, name, nth) \
                 JOIN {names} c ON c.name = u.category \
                 JOIN {streams} s ON s.category_id = c.name_id AND s.name = u.name \
                 LEFT JOIN LATERAL (SELECT e.position, e.id FROM {events} e \
                 WHERE e.stream_id = s.stream_id ORDER BY e.position DESC LIMIT 1) l ON true",
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
            lock,
            try_lock,
            numbers: fill("SELECT nextval({numbers_text}) FROM generate_series(1, $1::bigint)"),
            make_names: fill(&format!(
                "WITH held AS MATERIALIZED (SELECT {wait}1) \
                 INSERT INTO {{names}} (name_id, name) SELECT nextval({{numbers_text}}), u.name \
                 FROM held, (SELECT u.name FROM unnest($1::text[]) u (name) ORDER BY u.name) u \
                 ON CONFLICT (name) DO NOTHING"
            )),
            seen: fill(&seen(order)),
            insert: fill(&insert(&held, "")),
            insert_all: fill(&insert(&held, MORE)),
            list_categories: listing.categories(),
            list_streams: listing.streams(),
            by_numbers: [by_numbers(""), by_numbers(" DESC")],
            of_stream: [of_stream(""), of_stream(" DESC")],
            around,
        }
    }

    /// A statement of events, with so many parameters, that also returns the last number of the log and the
    /// [history](Self::history) of the same moment, in columns behind them: at least one row, in which all other columns
    /// are NULL if there are no events. It has two parameters more, those of the history.
    pub(crate) fn with_head(&self, sql: &str, parameters: usize) -> String {
        self.around.head(sql, parameters)
    }

    /// The first events of a stream by name, from either end, [with the head](Self::with_head).
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
