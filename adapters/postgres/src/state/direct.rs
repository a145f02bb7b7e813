//! Commits of one document without entries: a statement of their own, which costs less than the function.
//!
//! A row is locked and judged by the statement that writes it. Where another transaction holds it, the statement waits and
//! judges what that has left (`READ COMMITTED`); it locks nothing else, so that nobody waits for it in a circle. It
//! writes only what the function would write: where it finds anything else, it writes nothing, and the function judges.

use std::time::Duration;

use annals_state::{Change, Commit, Expected};
use tokio_postgres::types::Type;

use crate::connection::session::{Session, Value};
use crate::error::Outcome;
use crate::schema::tables::Tables;

/// The text of the statements, by what is expected.
#[derive(Debug)]
pub(super) struct Direct {
    any: String,
    absent: String,
    is: String,
}

impl Direct {
    pub(super) fn new(tables: &Tables) -> Self {
        // Before any lock is waited for, and for this transaction alone.
        let patience =
            "WITH patience AS MATERIALIZED (SELECT set_config('lock_timeout', $1, true))";
        let insert = format!(
            "{patience} INSERT INTO {{documents}} AS d \
             (collection, id, revision, encoding, body, indexed) \
             SELECT $2, $3, $4, $5, $6, false FROM patience ON CONFLICT (collection, id)"
        );
        let update = "UPDATE SET revision = excluded.revision, encoding = excluded.encoding, \
             body = excluded.body WHERE NOT d.indexed";
        let is = format!(
            "{patience} UPDATE {{documents}} d SET revision = $4, encoding = $5, body = $6 \
             FROM patience WHERE d.collection = $2 AND d.id = $3 AND d.revision = $7 \
             AND NOT d.indexed"
        );
        Self {
            any: tables.fill(&format!("{insert} DO {update}")),
            absent: tables.fill(&format!("{insert} DO NOTHING")),
            is: tables.fill(&is),
        }
    }

    /// Makes `commit` if it is of this kind and finds what it expects. `false`: nothing was made, and the function has to
    /// judge.
    pub(super) async fn commit(
        &self,
        session: Session<'_>,
        commit: &Commit,
        patience: &str,
    ) -> Outcome<bool> {
        let [write] = &commit.writes[..] else { return Ok(false) };
        let Change::Put { body, entries } = &write.change else { return Ok(false) };
        if !entries.is_empty() {
            return Ok(false);
        }
        let (collection, id) = (write.key.collection.as_str(), write.key.id.as_str());
        let revision = commit.revision.as_uuid();
        let (encoding, body) = (body.encoding().as_str(), &body.as_bytes()[..]);
        let mut values: Vec<Value<'_>> = vec![
            (&patience, Type::TEXT),
            (&collection, Type::TEXT),
            (&id, Type::TEXT),
            (&revision, Type::UUID),
            (&encoding, Type::TEXT),
            (&body, Type::BYTEA),
        ];
        let rows = match write.expected {
            Expected::Any => session.insert(&self.any, &values).await?,
            Expected::Absent => session.insert(&self.absent, &values).await?,
            Expected::Is(expected) => {
                let expected = expected.as_uuid();
                values.push((&expected, Type::UUID));
                session.insert(&self.is, &values).await?
            }
        };
        Ok(rows == 1)
    }
}

/// How long locks are waited for, as a setting.
pub(super) fn setting(patience: Duration) -> String {
    patience.as_millis().max(1).to_string()
}
