//! Mutable state beside an event store: the contract of state stores, and documents that can be found.
//!
//! Everything that an application keeps beside its events (views, tracking, snapshots, leases) is built on one small
//! contract, [`StateStore`]: commit several documents under expected revisions or nothing, get, scan in the order of
//! keys. A database that implements it in an afternoon has all of the rest, because the rest is made of these three
//! calls by pure functions: [`Documents`] with typed states, indexes, filters, sorts and pages.
//!
//! | to | use |
//! |---|---|
//! | keep typed documents and find them | [`Collection`], [`Documents`], [`Find`] |
//! | write documents of several collections in one commit | [`Documents::commit`], [`Documents::guard`] |
//! | keep bytes under keys | [`StateStore`], [`Commit`], [`Scan`] |
//! | keep state in another database | [`StateStore`], whose docs say how |
//!
//! # A product catalogue
//! ```
//! use std::sync::Arc;
//!
//! use annals_memory::MemoryState;
//! use annals_state::{By, Collection, Expected, Filter, Find, Paging};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Product {
//!     name: String,
//!     kind: String,
//!     price: f64,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> annals_state::Result<()> {
//! let products = Collection::<Product>::new("products")?
//!     .with_index("by_kind_and_price", [By::ascending("kind")?, By::ascending("price")?])?
//!     .with_index("by_name", [By::ascending("name")?])?
//!     .on(Arc::new(MemoryState::new()));
//! let catalogue = [("Assam", "tea", 4.5), ("Sencha", "tea", 7.0), ("Keemun", "tea", 9.0), ("Mocha", "coffee", 8.0)];
//! for (name, kind, price) in catalogue {
//!     let product = Product { name: name.into(), kind: kind.into(), price };
//!     products.put(name, &product, Expected::Absent).await?;
//! }
//!
//! // The cheapest teas, a page of two at a time. The index gives both the filter and the order.
//! let teas = Find::default()
//!     .filter(Filter::is("kind", "tea")? & !Filter::matches("name", "^X")?)
//!     .sort([By::ascending("price")?]);
//! let plan = products.collection().plan(&teas)?;
//! assert_eq!(plan.to_string(), "along index by_kind_and_price, one range, in order");
//! let first = products.find(&teas.clone().paging(Paging::First(2))).await?;
//! let names = |found: &[annals_state::Stored<Product>]| -> Vec<String> {
//!     found.iter().map(|product| product.value.name.clone()).collect()
//! };
//! assert_eq!(names(&first.documents), ["Assam", "Sencha"]);
//! let next = first.next.expect("there are three teas");
//! let second = products.find(&teas.paging(Paging::After(next, 2))).await?;
//! assert_eq!(names(&second.documents), ["Keemun"]);
//! assert!(second.next.is_none());
//!
//! // Two clerks read one price. The first update is made, the second one must read again.
//! let mocha = products.get("Mocha").await?.expect("it was put");
//! let cheaper = Product { price: 7.5, ..mocha.value };
//! products.put("Mocha", &cheaper, Expected::Is(mocha.revision)).await?;
//! let late = products.put("Mocha", &cheaper, Expected::Is(mocha.revision)).await;
//! assert!(late.is_err_and(|error| error.is_conflict()));
//! # Ok(())
//! # }
//! ```
//!
//! # The order of values
//! null < false < true < numbers < texts < arrays < objects, for filters, sorts and indexes alike: see [`compare`]. What
//! is missing is null, and null comes first if ascending. Numbers compare as decimals, texts by the bytes of their UTF-8.
//!
//! # Indexes
//! An index of a [`Collection`] is a list of fields. Each put computes the key of its document in each index, and the
//! store compares these keys by bytes. Which indexes there are changes what a find costs, never what it returns. They are
//! part of the collection's definition, which is kept in the store and guards every put; a program with another
//! definition gets [`StateError::DefinitionChanged`] until [`Documents::reindex`].

mod capability;
mod collection;
mod cursor;
mod definition;
mod document;
mod documents;
mod envelope;
mod error;
mod filter;
mod find;
mod judge;
mod plan;
mod query;
mod range;
mod run;
mod scan;
mod similarity;
mod store;
mod sweep;
mod together;
mod upkeep;
mod value;
mod write;

pub use capability::StateCapabilities;
pub use collection::{Collection, MAX_INDEXES};
pub use cursor::Cursor;
pub use document::{CollectionName, Document, DocumentId, DocumentKey, IndexName, Revision};
pub use documents::Documents;
pub use error::{Result, StateError, StateFailure};
pub use filter::{Filter, MAX_FILTER_DEPTH, MAX_FILTER_PARTS, Pattern};
pub use find::{By, Find, Found, MAX_LOOKED_AT, Paging, Stored};
pub use judge::judge;
pub use plan::Plan;
pub use scan::{Along, Place, Scan, Scanned, prefix_end};
pub use similarity::similarity;
pub use store::{DocumentPages, Got, StateStore, async_trait, get_all};
pub use sweep::{Sweep, Swept};
pub use together::TogetherError;
pub use value::{MAX_PATH_STEPS, Path, compare};
pub use write::{Change, Commit, Conflict, Expected, IndexEntry, Write};
