//! A catalogue of products: filters along indexes, pages, and an update that comes too late.
//!
//! `cargo run --release --example documents -- [--store STORE]`

use annals::BoxError;
use annals_examples::store;
use annals_state::{By, Collection, Expected, Filter, Find, Paging, StateError, StateStore as _};
use clap::Parser;
use serde::{Deserialize, Serialize};

/// A catalogue of products: filters along indexes, pages, and an update that comes too late.
#[derive(Parser)]
struct Arguments {
    /// Where to keep the products: `memory`, the path of an SQLite file, or the URL of a PostgreSQL database
    #[arg(long, env = "ANNALS_STORE", default_value = "memory")]
    store: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Product {
    name: String,
    kind: String,
    price: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let store = store::open_state(&Arguments::parse().store).await?;
    let products = Collection::<Product>::new("products")?
        .with_index("by_kind_and_price", [By::ascending("kind")?, By::ascending("price")?])?
        .with_index("by_name", [By::ascending("name")?])?
        .on(std::sync::Arc::clone(&store));
    for nth in 0..20 {
        let kind = if nth % 3 == 0 { "coffee" } else { "tea" };
        let price = f64::from(nth % 7);
        let product = Product { name: format!("{kind} {nth:02}"), kind: kind.into(), price };
        products.put(format!("p-{nth:02}"), &product, Expected::Any).await?;
    }
    let teas = Find::default()
        .filter(Filter::is("kind", "tea")? & Filter::at_least("price", 2)?)
        .sort([By::ascending("price")?]);
    println!("teas {}:", products.collection().plan(&teas)?);
    let mut paging = Paging::First(4);
    loop {
        let page = products.find(&teas.clone().paging(paging)).await?;
        let lines =
            page.documents.iter().map(|tea| format!("{} {}", tea.value.name, tea.value.price));
        println!("  {}", lines.collect::<Vec<_>>().join(", "));
        let Some(next) = page.next else { break };
        paging = Paging::After(next, 4);
    }
    let seen = products.get("p-01").await?.ok_or("it was put")?;
    let cheaper = Product { price: 0.5, ..seen.value };
    products.put("p-01", &cheaper, Expected::Is(seen.revision)).await?;
    let late = products.put("p-01", &cheaper, Expected::Is(seen.revision)).await;
    let conflict = late.err().filter(StateError::is_conflict).ok_or("it came in time")?;
    println!("rejected: {conflict}");
    store.close().await;
    Ok(())
}
