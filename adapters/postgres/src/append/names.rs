//! Names that are made before an append, in the weaker orders.

use tokio_postgres::types::Type;

use crate::connection::session::Session;
use crate::error::Outcome;
use crate::store::Store;

/// Makes those of `names` that are new, in the weaker orders, where transactions do not exclude one another. A name that
/// is then not used does no harm. One that is not committed keeps up all who use it.
pub(crate) async fn make_names(store: &Store, session: Session<'_>, names: &[&str]) -> Outcome<()> {
    if !names.is_empty() {
        session.query(&store.sql.make_names, &[(&names, Type::TEXT_ARRAY)]).await?;
    }
    Ok(())
}
