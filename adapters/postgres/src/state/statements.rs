//! The text of statements of documents.

use annals_sql::documents::Tables as Shape;
use annals_state::StateCapabilities;

use crate::schema::tables::Tables;
use crate::state::direct::Direct;

pub(super) const CAPABILITIES: StateCapabilities = StateCapabilities::NONE
    .with_durable(true)
    .with_shared(true)
    .with_max_writes(10_000)
    .with_max_commit_bytes(64 << 20);

/// The text of statements.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(super) commit: String,
    pub(super) direct: Direct,
    pub(super) get: String,
    documents: String,
    entries: String,
    join: String,
}

impl Statements {
    pub(super) fn new(tables: &Tables) -> Self {
        let parameters: Vec<String> = (1..=17).map(|nth| format!("${nth}")).collect();
        Self {
            commit: tables.fill(&format!("SELECT * FROM {{commit}}({})", parameters.join(", "))),
            direct: Direct::new(tables),
            get: tables.fill(
                "SELECT d.revision, d.encoding, d.body \
                 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w (collection, id, nth) \
                 LEFT JOIN LATERAL (SELECT d.revision, d.encoding, d.body FROM {documents} d \
                 WHERE d.collection = w.collection AND d.id = w.id OFFSET 0) d ON true",
            ),
            documents: tables.fill("{documents}"),
            entries: tables.fill("{entries}"),
            // One look-up for each entry in its order, whatever the planner thinks of tables and limits that it does
            // not know: not all documents at once, and not by parallel workers, which take longer to start than a page.
            join: tables.fill(
                "CROSS JOIN LATERAL (SELECT d.id, d.revision, d.encoding, d.body FROM {documents} d \
                 WHERE d.collection = e.collection AND d.id = e.id OFFSET 0) d",
            ),
        }
    }

    pub(super) fn tables(&self) -> Shape<'_> {
        Shape {
            parameter: "$",
            documents: &self.documents,
            entries: &self.entries,
            join: &self.join,
            empty: "''::bytea",
        }
    }
}
