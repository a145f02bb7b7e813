//! Views: how fast they are made again, what a commit costs, how soon an event is applied, and what idle ones take.

mod ground;
mod growth;
mod rebuild;
mod waits;

use annals::BoxError;

pub use ground::{Stores, Thorough};
pub use rebuild::{Listeners, Rebuilt};

/// All figures of one ground, as lines of a table. `open` makes empty stores.
///
/// # Errors
/// Those of the stores.
///
/// # Panics
/// If a rebuild counts wrong.
pub async fn measure(
    ground: &str,
    open: impl AsyncFn() -> Result<Stores, BoxError>,
    thorough: Thorough,
) -> Result<Vec<String>, BoxError> {
    let mut lines = rebuild::rebuild(ground, open().await?, thorough, None).await?;
    lines.extend(growth::growth(ground, open().await?, thorough).await?);
    lines.extend(waits::soon(ground, open().await?, thorough).await?);
    lines.extend(waits::idle(ground, open().await?, thorough).await?);
    Ok(lines)
}

/// Rebuilds on PostgreSQL beside the listeners of others, as lines of a table.
///
/// # Errors
/// Those of the stores and of the listeners.
///
/// # Panics
/// If a rebuild counts wrong.
pub async fn beside(
    ground: &str,
    stores: Stores,
    thorough: Thorough,
    others: Listeners,
) -> Result<Vec<String>, BoxError> {
    rebuild::rebuild(ground, stores, thorough, Some(others)).await
}
