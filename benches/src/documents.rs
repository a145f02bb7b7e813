//! State stores beside bare code of the driver: commits, gets, scans and finds.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::{BoxError, Payload};
use annals_memory::MemoryState;
use annals_postgres::PostgresOptions;
use annals_sqlite::SqliteAdapter;
use annals_state::{
    By, Collection, Commit, DocumentKey, Documents, Expected, Filter, Find, IndexName, Paging,
    Scan, StateStore, Write,
};
use futures_util::TryStreamExt;
use futures_util::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::documents_bare::Bare;
use crate::measure::Spread;
use crate::report::short;
use crate::sample;

/// How thorough a run is.
#[derive(Debug, Clone, Copy)]
pub struct Thorough {
    /// How often each figure is measured, by ours and bare code in turns.
    pub rounds: usize,
    /// For how long each time.
    pub time: Duration,
    /// How many documents collections have that are searched.
    pub sizes: &'static [usize],
}

impl Thorough {
    /// Whether it works.
    pub const QUICK: Self =
        Self { rounds: 3, time: Duration::from_millis(100), sizes: &[1_000, 10_000] };
    /// The default.
    pub const FULL: Self =
        Self { rounds: 7, time: Duration::from_secs(1), sizes: &[1_000, 100_000] };
    /// With the largest collection, which takes some minutes to make.
    pub const LARGE: Self = Self { sizes: &[1_000, 100_000, 1_000_000], ..Self::FULL };
}

/// A state store, and bare code in the same database.
pub struct Stores {
    ours: Arc<dyn StateStore>,
    /// None of a store in memory.
    bare: Option<Bare>,
    _folder: Option<TempDir>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").field("ours", &self.ours).finish_non_exhaustive()
    }
}

impl Stores {
    /// In memory, beside nothing.
    #[must_use]
    pub fn memory() -> Self {
        Self { ours: Arc::new(MemoryState::new()), bare: None, _folder: None }
    }

    /// In new files in this folder.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sqlite(folder: &Path) -> Result<Self, BoxError> {
        let folder = TempDir::new_in(folder)?;
        let adapter = SqliteAdapter::open(folder.path().join("state.db")).await?;
        let bare = Bare::sqlite(&folder.path().join("bare.db"))?;
        Ok(Self { ours: Arc::new(adapter.state()), bare: Some(bare), _folder: Some(folder) })
    }

    /// On the server at this URL.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn postgres(url: &str) -> Result<Self, BoxError> {
        let schema = format!("state_{}", annals::EventId::generate().as_uuid().simple());
        let options = PostgresOptions::new(url)?.with_schema(&schema);
        options.migrate().await?;
        let adapter = options.connect().await?;
        let bare = Bare::postgres(url, &schema).await?;
        Ok(Self { ours: Arc::new(adapter.state()), bare: Some(bare), _folder: None })
    }
}

/// One figure: a rate of ours, and its ratio to bare code.
struct Figure {
    what: String,
    unit: &'static str,
    ours: Vec<f64>,
    bare: Vec<f64>,
}

impl Figure {
    fn new(what: String, unit: &'static str) -> Self {
        Self { what, unit, ours: Vec::new(), bare: Vec::new() }
    }

    fn line(&self, store: &str) -> String {
        let rate = |figures: &[f64]| Spread::of(figures.iter().copied());
        let shown = rate(&self.ours).map_or_else(String::new, |ours| {
            format!("{} | {}–{}", short(ours.median), short(ours.min), short(ours.max))
        });
        // Each round is a pair of one moment.
        let ratios = self.ours.iter().zip(&self.bare).map(|(ours, bare)| ours / bare);
        let beside = Spread::of(ratios).map_or("| ".into(), |ratio| {
            let bare = rate(&self.bare).map_or(0.0, |bare| bare.median);
            format!("{} | {:.2} ({:.2}–{:.2})", short(bare), ratio.median, ratio.min, ratio.max)
        });
        format!("| {store} | {} | {} | {shown} | {beside} |", self.what, self.unit)
    }
}

/// Calls `call` one after the other by so many clients at once for this time; how often a second.
async fn rate<'a>(
    clients: usize,
    time: Duration,
    call: &(dyn Fn(usize, u64) -> BoxFuture<'a, Result<(), BoxError>> + 'a),
) -> Result<f64, BoxError> {
    let begin = Instant::now();
    let client = |client: usize| async move {
        let mut calls = 0_u32;
        while begin.elapsed() < time {
            call(client, u64::from(calls)).await?;
            calls += 1;
        }
        Ok::<_, BoxError>(calls)
    };
    let calls = try_join_all((0..clients).map(client)).await?;
    Ok(f64::from(calls.iter().sum::<u32>()) / begin.elapsed().as_secs_f64())
}

/// All figures of a store, as lines of a table.
///
/// # Errors
/// Those of the stores.
pub async fn measure(
    name: &str,
    stores: &Stores,
    thorough: Thorough,
) -> Result<Vec<String>, BoxError> {
    let mut lines = Vec::new();
    for documents in [1, 100] {
        for writers in [1, 8, 32] {
            lines.push(commits(stores, thorough, documents, writers).await?.line(name));
        }
    }
    for size in thorough.sizes {
        let searched = fill(stores, *size).await?;
        for figure in reads(stores, &searched, thorough, *size).await? {
            lines.push(figure.line(name));
        }
    }
    Ok(lines)
}

/// Commits of documents that each expect the revision which the same writer gave them last.
async fn commits(
    stores: &Stores,
    thorough: Thorough,
    documents: usize,
    writers: usize,
) -> Result<Figure, BoxError> {
    let collection = format!("commits-{documents}-{writers}");
    let body = Payload::json_bytes(sample::PAYLOAD)?;
    let what = format!("commit of {documents}, {writers} writers");
    let mut figure = Figure::new(what, "commits/s");
    let held: Vec<_> = (0..writers).map(|_| tokio::sync::Mutex::new(Expected::Absent)).collect();
    for _ in 0..thorough.rounds {
        let ours = |writer: usize, _| -> BoxFuture<'_, Result<(), BoxError>> {
            let (collection, body, held) = (&collection, &body, &held);
            Box::pin(async move {
                let held = held.get(writer).ok_or("no such writer")?;
                let mut expected = held.lock().await;
                let put = |nth| {
                    let key = DocumentKey::new(collection.as_str(), format!("{writer}-{nth}"))?;
                    Ok::<_, BoxError>(Write::put(key, body.clone(), *expected))
                };
                let commit = Commit::new((0..documents).map(put).collect::<Result<Vec<_>, _>>()?);
                let revision = commit.revision;
                stores.ours.commit(commit).await?;
                *expected = Expected::Is(revision);
                Ok(())
            })
        };
        figure.ours.push(rate(writers, thorough.time, &ours).await?);
        if let Some(bare) = &stores.bare {
            let collection = &collection;
            let upsert = |writer: usize, _| -> BoxFuture<'_, Result<(), BoxError>> {
                let ids = (0..documents).map(|nth| format!("{writer}-{nth}")).collect();
                Box::pin(bare.upsert(writer, collection, ids, sample::PAYLOAD))
            };
            figure.bare.push(rate(writers, thorough.time, &upsert).await?);
        }
    }
    Ok(figure)
}

fn name(size: usize) -> String {
    format!("searched-{size}")
}

fn id(nth: usize) -> String {
    format!("n{nth:07}")
}

/// A collection of this size, and the same in the bare table. Prices are spread over it.
async fn fill(stores: &Stores, size: usize) -> Result<Documents<Value>, BoxError> {
    let collection = Collection::<Value>::new(name(size))?
        .with_index("by_price", [By::ascending("price")?])?
        .on(Arc::clone(&stores.ours));
    let numbers: Vec<usize> = (0..size).collect();
    for part in numbers.chunks(1_000) {
        let state = |nth: &usize| json!({ "price": nth * 7_919 % size, "text": sample::PAYLOAD });
        let writes: Result<Vec<_>, BoxError> = part
            .iter()
            .map(|nth| Ok(collection.write(id(*nth), &state(nth), Expected::Absent)?))
            .collect();
        collection.commit(writes?).await?;
        if let Some(bare) = &stores.bare {
            let rows =
                part.iter().map(|nth| (id(*nth), nth * 7_919 % size, state(nth).to_string()));
            bare.fill(&name(size), rows.collect()).await?;
        }
    }
    if let Some(bare) = &stores.bare {
        bare.analyze().await?;
    }
    Ok(collection)
}

/// Reads of a collection of this size by one client.
async fn reads(
    stores: &Stores,
    searched: &Documents<Value>,
    thorough: Thorough,
    size: usize,
) -> Result<Vec<Figure>, BoxError> {
    let name = name(size);
    let at = |call: u64| usize::try_from(call).unwrap_or(0).wrapping_mul(7_919) % size;
    let mut figures = Vec::new();
    for count in [1, 100] {
        let ids = |call: u64| -> Vec<String> {
            (0..count).map(|nth| id((at(call) + nth) % size)).collect()
        };
        let mut figure = Figure::new(format!("get of {count}, {size} documents"), "gets/s");
        for _ in 0..thorough.rounds {
            let ours = |_, call: u64| -> BoxFuture<'_, Result<(), BoxError>> {
                let keys = ids(call).into_iter().map(|id| DocumentKey::new(name.as_str(), id));
                let keys: Result<Vec<_>, _> = keys.collect();
                Box::pin(async move {
                    let got = stores.ours.get(keys?).await?;
                    all(got.documents.iter().flatten().count(), count)
                })
            };
            figure.ours.push(rate(1, thorough.time, &ours).await?);
            if let Some(bare) = &stores.bare {
                let select = |_, call: u64| -> BoxFuture<'_, Result<(), BoxError>> {
                    let ids = ids(call);
                    let name = &name;
                    Box::pin(async move { all(bare.get(name, ids).await?, count) })
                };
                figure.bare.push(rate(1, thorough.time, &select).await?);
            }
        }
        figures.push(figure);
    }

    let mut figure = Figure::new(format!("scan of 1,000 along an index, {size}"), "scans/s");
    let along = Scan::along(searched.collection().name().clone(), IndexName::new("by_price")?);
    for _ in 0..thorough.rounds {
        let ours = |_, _| -> BoxFuture<'_, Result<(), BoxError>> {
            let pages = stores.ours.scan(along.clone().limit(1_000));
            Box::pin(async move {
                let pages: Vec<_> = pages.try_collect().await?;
                all(pages.iter().map(Vec::len).sum(), 1_000)
            })
        };
        figure.ours.push(rate(1, thorough.time, &ours).await?);
        if let Some(bare) = &stores.bare {
            let name = &name;
            let select = |_, _| -> BoxFuture<'_, Result<(), BoxError>> {
                Box::pin(async move { all(bare.along(name, 0, 1_000).await?, 1_000) })
            };
            figure.bare.push(rate(1, thorough.time, &select).await?);
        }
    }
    figures.push(figure);

    let page = 20;
    let mut figure = Figure::new(format!("find of 20 along an index, {size}"), "finds/s");
    for _ in 0..thorough.rounds {
        let from = |call: u64| at(call).min(size.saturating_sub(page));
        let ours = |_, call: u64| -> BoxFuture<'_, Result<(), BoxError>> {
            Box::pin(async move {
                let find = Find::default()
                    .filter(Filter::at_least("price", from(call))?)
                    .sort([By::ascending("price")?])
                    .paging(Paging::First(page));
                all(searched.find(&find).await?.documents.len(), page)
            })
        };
        figure.ours.push(rate(1, thorough.time, &ours).await?);
        if let Some(bare) = &stores.bare {
            let name = &name;
            let select = |_, call: u64| -> BoxFuture<'_, Result<(), BoxError>> {
                Box::pin(async move { all(bare.along(name, from(call), page).await?, page) })
            };
            figure.bare.push(rate(1, thorough.time, &select).await?);
        }
    }
    figures.push(figure);

    // Beyond this a find without an index is rejected.
    if size <= annals_state::MAX_LOOKED_AT {
        let mut figure = Figure::new(format!("find without an index, {size}"), "finds/s");
        for _ in 0..thorough.rounds {
            let ours = |_, _| -> BoxFuture<'_, Result<(), BoxError>> {
                Box::pin(async move {
                    let find = Find::default().filter(Filter::is("text", "nothing")?);
                    all(searched.find(&find).await?.documents.len(), 0)
                })
            };
            figure.ours.push(rate(1, thorough.time, &ours).await?);
            if let Some(bare) = &stores.bare {
                let name = &name;
                let select = |_, _| -> BoxFuture<'_, Result<(), BoxError>> {
                    Box::pin(async move { all(bare.unindexed(name, "nothing").await?, 0) })
                };
                figure.bare.push(rate(1, thorough.time, &select).await?);
            }
        }
        figures.push(figure);
    }
    Ok(figures)
}

/// What is faster because it returns less is no figure.
fn all(found: usize, expected: usize) -> Result<(), BoxError> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{found} documents were returned, {expected} are there").into())
}
