//! Appends of a weaker order while another program holds one of its streams: scopes are independent.

use std::time::Duration;

use annals::{Append, BoxError, EventStore, Order, StreamId, StreamName, WriteCondition};
use annals_postgres::tokio_postgres::{Config, NoTls};
use annals_postgres::{PostgresAdapter, PostgresOptions};

use crate::annals_store::Annals;
use crate::contestant::{Missing, Store};
use crate::measure::Spread;
use crate::report::short;
use crate::sample;
use crate::workload::Workload;

/// The lines of the report: `writers` on streams of their own, without and with one stream more that is held and that
/// as many appends wait for.
///
/// # Errors
/// The store's and the server's.
pub async fn measure(url: &str, rounds: usize, time: Duration) -> Result<Vec<String>, BoxError> {
    let mut lines = Vec::new();
    for writers in [8, 32] {
        let mut ratios = Vec::new();
        let mut rates = Vec::new();
        for _ in 0..rounds {
            let free = once(url, writers, false, time).await?;
            let beside = once(url, writers, true, time).await?;
            rates.push(beside);
            ratios.push(beside / free);
        }
        if let (Some(rate), Some(ratio)) = (Spread::of(rates), Spread::of(ratios)) {
            let (rate, Spread { median, min, max }) = (short(rate.median), ratio);
            lines.push(format!("| {writers} | {rate} | {median:.3} | {min:.3}–{max:.3} |"));
        }
    }
    Ok(lines)
}

async fn once(url: &str, writers: usize, holds: bool, time: Duration) -> Result<f64, BoxError> {
    let schema = format!("annals_{}", annals::EventId::generate().as_uuid().simple());
    let options = PostgresOptions::new(url)?
        .with_schema(&schema)
        .with_order(Order::Stream)
        .with_lock_timeout(Duration::from_secs(600));
    options.migrate().await?;
    let adapter = options.connect().await?;
    let config: Config = url.parse()?;
    let (mut client, connection) = config.connect(NoTls).await?;
    let driver = tokio::spawn(connection);
    let transaction = client.transaction().await?;
    let mut waiting = Vec::new();
    if holds {
        adapter.append_in(&transaction, held()).await?;
        for _ in 0..writers {
            let adapter: PostgresAdapter = adapter.clone();
            waiting.push(tokio::spawn(async move {
                annals::StorageAdapter::append(&adapter, held()).await.map(drop)
            }));
        }
    }
    let store = EventStore::new(adapter);
    let appended: std::sync::Arc<dyn Store> =
        std::sync::Arc::new(Annals::new(store.clone(), false));
    let load = Workload::Append { writers, events: 1 };
    let measure = load.repeat(&appended, 0, time).await.map_err(|missing| match missing {
        Missing::NotOffered => "appends are not offered".into(),
        Missing::Failed(error) => error,
    })?;
    if waiting.iter().any(tokio::task::JoinHandle::is_finished) {
        return Err("what is held was written".into());
    }
    transaction.rollback().await?;
    for append in waiting {
        append.await??;
    }
    store.close().await;
    driver.abort();
    Ok(measure.rate())
}

fn held() -> Vec<Append> {
    let stream = StreamId { category: sample::CATEGORY, name: StreamName::from_static("held") };
    vec![Append::new(stream, vec![sample::event()], WriteCondition::Always)]
}
