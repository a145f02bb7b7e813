//! Names that are made before an append, in the weaker orders.

use tokio_postgres::types::Type;

use crate::connection::session::Session;
use crate::error::Outcome;
use crate::lookup::facts::Work;
use crate::store::Store;

/// The names that `works` write, in order.
pub(crate) fn names_of<'a>(works: &[Work<'a>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for write in works.iter().flat_map(|work| work.writes).filter(|write| !write.events.is_empty())
    {
        names.push(write.stream.category.as_str());
        for event in &write.events {
            names.push(event.name.as_str());
            names.push(event.payload.encoding().as_str());
            names.extend(event.tags.iter().map(annals::Tag::as_str));
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Makes those of `names` that are new, in the weaker orders, where transactions do not exclude one another. A name that
/// is then not used does no harm. One that is not committed keeps up all who use it.
pub(crate) async fn make_names(store: &Store, session: Session<'_>, names: &[&str]) -> Outcome<()> {
    if !names.is_empty() {
        session.query(&store.sql.make_names, &[(&names, Type::TEXT_ARRAY)]).await?;
    }
    Ok(())
}
