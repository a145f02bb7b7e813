//! From the return of an append to the page of a follower, and what followers cost that have nothing to do.

use std::time::{Duration, Instant};

use annals::{
    BoxError, EventStore, ReadOptions, SequenceNumber, StreamId, StreamName, WriteCondition,
};
use annals_servers::PostgresServer;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::beside::{Audience, Followers};
use crate::measure::histogram;
use crate::place::Place;
use crate::report::short;
use crate::sample;

/// How often a reader without `follow` looks, to compare with.
const POLL: Duration = Duration::from_millis(10);
/// Between two appends: each finds followers that wait.
const PAUSE: Duration = Duration::from_millis(3);
/// Only a follower that hangs takes so long.
const BOUND: Duration = Duration::from_secs(60);

/// How a reader learns of appends.
#[derive(Debug, Clone, Copy)]
enum Reader {
    /// A follow of the handle that appends.
    Same,
    /// A follow of another handle, as another process has it.
    Other,
    /// Another handle that reads what is after the last number, and pauses.
    Polling,
}

impl Reader {
    const ALL: [Self; 3] = [Self::Same, Self::Other, Self::Polling];

    fn name(self) -> String {
        match self {
            Self::Same => "follow, same handle".into(),
            Self::Other => "follow, other handle".into(),
            Self::Polling => format!("polling each {} ms", POLL.as_millis()),
        }
    }
}

/// The lines of the report: `appends` of one event, one after the other, for each way to read.
///
/// # Errors
/// The store's; a reader that does not return an event.
pub async fn measure(
    mut place: impl AsyncFnMut() -> Result<Place, BoxError>,
    name: &str,
    appends: u64,
) -> Result<Vec<String>, BoxError> {
    let mut lines = Vec::new();
    for reader in Reader::ALL {
        let place = place().await?;
        let writer = place.open().await?;
        let of = if matches!(reader, Reader::Same) { writer.clone() } else { place.open().await? };
        let taken = once(&writer, &of, reader, appends, place.settles()).await?;
        let [median, late] = [0.5, 0.99].map(|quantile| micros(&taken, quantile));
        lines.push(format!("| {name} | {} | {median} | {late} |", reader.name()));
        of.close().await;
        writer.close().await;
    }
    Ok(lines)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2⁵³ nanoseconds")]
fn micros(taken: &Histogram<u64>, quantile: f64) -> String {
    short(taken.value_at_quantile(quantile) as f64 / 1_000.0)
}

async fn once(
    writer: &EventStore,
    of: &EventStore,
    reader: Reader,
    appends: u64,
    settle: Duration,
) -> Result<Histogram<u64>, BoxError> {
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    let reading = read(of.clone(), reader, seen);
    let stream = StreamId { category: sample::CATEGORY, name: StreamName::from_static("one") };
    let stream = writer.stream(stream);
    // The first connects and prepares.
    stream.append([sample::event()], WriteCondition::Always).await?;
    tokio::time::timeout(BOUND, arrivals.recv()).await?.ok_or("the reader ended")?;
    tokio::time::sleep(settle).await;
    let mut taken = histogram();
    for number in 2..=appends + 1 {
        stream.append([sample::event()], WriteCondition::Always).await?;
        let returned = Instant::now();
        let arrived: (u64, Instant) =
            tokio::time::timeout(BOUND, arrivals.recv()).await?.ok_or("the reader ended")?;
        if arrived.0 != number {
            return Err(format!("{} came for {number}", arrived.0).into());
        }
        // A reader may see an event before its writer has the answer.
        let waited = arrived.1.saturating_duration_since(returned);
        taken.record(u64::try_from(waited.as_nanos())?.max(1))?;
        tokio::time::sleep(PAUSE).await;
    }
    reading.abort();
    Ok(taken)
}

/// Sends each event's number with the moment when its page was there.
fn read(
    store: EventStore,
    reader: Reader,
    seen: mpsc::UnboundedSender<(u64, Instant)>,
) -> JoinHandle<Result<(), annals::Error>> {
    tokio::spawn(async move {
        let mut after = SequenceNumber::START;
        loop {
            let mut pages = match reader {
                Reader::Polling => store.log().pages(ReadOptions::default().after(after)),
                _ => store.log().follow(after),
            };
            while let Some(page) = pages.next().await {
                let page = page?;
                let now = Instant::now();
                after = page.through;
                for event in &page.events {
                    // Who measures may have ended.
                    let _ = seen.send((event.sequence_number.value(), now));
                }
            }
            tokio::time::sleep(POLL).await;
        }
    })
}

/// How many transactions a second a server of PostgreSQL does for `followers` that nothing is appended for.
///
/// # Errors
/// The store's and the server's.
pub async fn idle(followers: usize, time: Duration) -> Result<String, BoxError> {
    let url = PostgresServer::shared_url()?;
    let place = Place::postgres(&url).await?;
    let store = place.open().await?;
    let following = Followers::start(&store, Audience::Idle(followers)).await?;
    tokio::time::sleep(place.settles()).await;
    let config: annals_postgres::tokio_postgres::Config = url.parse()?;
    let (client, connection) = config.connect(annals_postgres::tokio_postgres::NoTls).await?;
    let driver = tokio::spawn(connection);
    let done = async || -> Result<i64, BoxError> {
        // Sessions report what they did at most once a second.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let sql = "SELECT xact_commit + xact_rollback FROM pg_stat_database \
                   WHERE datname = current_database()";
        Ok(client.query_one(sql, &[]).await?.get(0))
    };
    let (before, begin) = (done().await?, Instant::now());
    tokio::time::sleep(time).await;
    let after = done().await?;
    let seconds = begin.elapsed().as_secs_f64();
    drop(following);
    store.close().await;
    driver.abort();
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no 16 digits")]
    let rate = (after - before - 1) as f64 / seconds;
    Ok(format!("| {followers} | {rate:.2} |"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn each_event_is_delivered_to_each_reader() {
        let lines = measure(async || Ok(Place::memory()), "memory", 3).await;
        assert_eq!(lines.expect("all are delivered").len(), Reader::ALL.len());
    }
}
