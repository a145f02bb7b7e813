//! How fast a view is made again, beside a loop by hand and beside others.

use std::collections::HashMap;
use std::time::Instant;

use annals::{BoxError, StoredEvent, WriteCondition};
use annals_postgres::tokio_postgres::{self, Client, NoTls, Transaction};
use annals_postgres::{SqlView, SqlViewSink};
use annals_processing::{Processor, SystemTimer, async_trait};
use futures_util::future::BoxFuture;

use super::ground::{Counts, STREAMS, Stores, Thorough, counts, line, rate, stream};
use crate::sample;

/// How many events one batch has.
const BATCH: usize = 500;

/// The same in a table of its own, with one statement a batch.
struct Table(String);

/// What the view in a table and the hand-written loop say.
fn upsert(table: &str) -> String {
    format!(
        "INSERT INTO {table} AS t SELECT * FROM unnest($1::text[], $2::bigint[]) \
         ON CONFLICT (stream) DO UPDATE SET events = t.events + excluded.events"
    )
}

fn grouped<'a>(streams: impl Iterator<Item = &'a str>) -> (Vec<&'a str>, Vec<i64>) {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    streams.for_each(|stream| *counts.entry(stream).or_default() += 1);
    counts.into_iter().unzip()
}

#[async_trait]
impl SqlView for Table {
    async fn apply(
        &self,
        transaction: &Transaction<'_>,
        events: &[StoredEvent],
    ) -> Result<(), BoxError> {
        let (streams, counts) = grouped(events.iter().map(|event| event.stream.name.as_str()));
        transaction.execute(&upsert(&self.0), &[&streams, &counts]).await?;
        Ok(())
    }

    async fn clear(&self, transaction: &Transaction<'_>) -> Result<(), BoxError> {
        transaction.execute(&format!("TRUNCATE {}", self.0), &[]).await?;
        Ok(())
    }
}

/// How fast somebody makes the view again, one figure each round.
#[derive(Debug)]
pub struct Rebuilt {
    /// Who.
    pub who: String,
    /// Events a second.
    pub rates: Vec<f64>,
}

impl Rebuilt {
    fn by(who: &str) -> Self {
        Self { who: who.to_owned(), rates: Vec::new() }
    }
}

/// Measures the listeners of others on PostgreSQL, who count up to so many events of the same streams in so many rounds.
pub type Listeners = fn(usize, usize) -> BoxFuture<'static, Result<Vec<Rebuilt>, BoxError>>;

/// How fast a view is made again as documents and, on PostgreSQL, in a table, by hand, and by the listeners of others.
pub(super) async fn rebuild(
    ground: &str,
    stores: Stores,
    thorough: Thorough,
    others: Option<Listeners>,
) -> Result<Vec<String>, BoxError> {
    let mut left = thorough.events;
    let mut nth = 0;
    while left > 0 {
        let some = left.min(20);
        let events: Vec<_> = (0..some).map(|_| sample::event()).collect();
        let stream = stores.log.stream(stream(nth % STREAMS)?);
        stream.append(events, WriteCondition::Always).await?;
        (left, nth) = (left - some, nth + 1);
    }
    let mut documents = Rebuilt::by("documents");
    let (mut table, mut by_hand) = (Rebuilt::by("a table"), Rebuilt::by("by hand in SQL"));
    for round in 0..=thorough.rounds {
        let rate = in_documents(&stores, thorough.events, round).await?;
        documents.rates.push(rate);
        if stores.postgres.is_some() {
            let [ours, hand] = in_tables(&stores, thorough.events, round).await?;
            table.rates.push(ours);
            by_hand.rates.push(hand);
        }
    }
    stores.close().await;
    // The first round warms up.
    for rebuilt in [&mut documents, &mut table, &mut by_hand] {
        rebuilt.rates = rebuilt.rates.split_off(rebuilt.rates.len().min(1));
    }
    let mut beside = vec![table, by_hand];
    beside.retain(|rebuilt| !rebuilt.rates.is_empty());
    if let Some(others) = others {
        beside.extend(others(thorough.events, thorough.rounds).await?);
    }
    let what = format!("rebuild of {} events, {BATCH} a commit", thorough.events);
    let mut lines = Vec::new();
    for Rebuilt { who, rates } in std::iter::once(&documents).chain(&beside) {
        lines.push(line(ground, &format!("{what}: {who}"), "events/s", rates.clone()));
    }
    for Rebuilt { who, rates } in &beside {
        let ratios = documents.rates.iter().zip(rates).map(|(ours, theirs)| ours / theirs);
        lines.push(line(ground, &format!("documents to {who}"), "ratio", ratios.collect()));
    }
    Ok(lines)
}

async fn in_documents(stores: &Stores, events: usize, round: usize) -> Result<f64, BoxError> {
    let name = format!("counts-{round}");
    let documents = counts(&stores.state, &name)?;
    let timer = SystemTimer::new();
    let processor = Processor::view(name, &stores.log, documents.clone(), Counts, timer)?;
    let mut processor = processor.with_batch(BATCH, usize::MAX);
    let begun = Instant::now();
    processor.settle().await?;
    let rate = rate(events, begun.elapsed());
    let mut counted = 0;
    for nth in 0..STREAMS {
        counted += documents.get(format!("o-{nth}")).await?.map_or(0, |found| found.value);
    }
    assert_eq!(counted, u64::try_from(events)?, "each is counted once");
    Ok(rate)
}

/// In a table by a processor, and by hand.
async fn in_tables(stores: &Stores, events: usize, round: usize) -> Result<[f64; 2], BoxError> {
    let (adapter, url, schema) = stores.postgres.as_ref().ok_or("no tables")?;
    let client = connect(url).await?;
    let (table, hand) = (format!("{schema}.table_{round}"), format!("{schema}.hand_{round}"));
    let made = format!("CREATE TABLE {table} (stream text PRIMARY KEY, events bigint)");
    client.batch_execute(&made).await?;
    let sink = SqlViewSink::new(adapter, Table(table.clone()));
    let processor = sink.processor(format!("table-{round}"), &stores.log, SystemTimer::new())?;
    let mut processor = processor.with_batch(BATCH, usize::MAX);
    let begun = Instant::now();
    processor.settle().await?;
    let ours = rate(events, begun.elapsed());
    let begun = Instant::now();
    by_hand(&client, schema, &hand).await?;
    let rates = [ours, rate(events, begun.elapsed())];
    for counted in [table, hand] {
        let sql = format!("SELECT sum(events)::bigint FROM {counted}");
        let sum: i64 = client.query_one(&sql, &[]).await?.try_get(0)?;
        assert_eq!(sum, i64::try_from(events)?, "each is counted once");
    }
    Ok(rates)
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// A loop as a program without a library has it: a page of the log, one upsert, the place, a commit.
async fn by_hand(client: &Client, schema: &str, table: &str) -> Result<(), BoxError> {
    client
        .batch_execute(&format!(
            "CREATE TABLE {table} (stream text PRIMARY KEY, events bigint);
             CREATE TABLE {table}_place (after bigint); INSERT INTO {table}_place VALUES (0)"
        ))
        .await?;
    let page = format!(
        "SELECT e.sequence_number, s.name, n.name, e.id, e.occurred_at::text, e.payload, e.metadata \
         FROM {schema}.events e JOIN {schema}.events_streams s USING (stream_id) \
         JOIN {schema}.events_names n ON n.name_id = e.name_id \
         WHERE e.sequence_number > $1 ORDER BY e.sequence_number LIMIT {BATCH}"
    );
    let (page, upsert) = (client.prepare(&page).await?, client.prepare(&upsert(table)).await?);
    let moved = client.prepare(&format!("UPDATE {table}_place SET after = $1")).await?;
    let mut after = 0_i64;
    loop {
        let rows = client.query(&page, &[&after]).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.try_get(0)?;
        let names: Vec<&str> = rows.iter().map(|row| row.try_get(1)).collect::<Result<_, _>>()?;
        let (streams, counts) = grouped(names.into_iter());
        client.batch_execute("BEGIN").await?;
        client.execute(&upsert, &[&streams, &counts]).await?;
        client.execute(&moved, &[&after]).await?;
        client.batch_execute("COMMIT").await?;
    }
}
