//! What a commit of a view costs as the view grows, beside bare code that reads and puts the same keys: what both have in
//! common is the database's, as the pages that random keys are on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use annals::{BoxError, Payload};
use annals_processing::{Batch, Sink, ViewSink};
use annals_state::{DocumentKey, Documents, Expected, Write};
use annals_testkit::StoredEventBuilder;

use super::ground::{Counts, Stores, Thorough, counts, line, stream};
use crate::documents_bare::Bare;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// How many events a commit has, and of how many commits a figure is the mean.
const COMMITS: [(usize, u32); 2] = [(1, 100), (100, 20)];
/// As long as the document of a count.
const BODY: &str = r#"{"v":1,"at":1000,"s":1000}"#;

/// The same without a view.
enum Bottom {
    /// A map.
    Memory(BTreeMap<(String, String), Vec<u8>>),
    Database(Bare),
}

impl Bottom {
    async fn of(stores: &Stores) -> Result<Self, BoxError> {
        Ok(match (&stores.postgres, &stores.folder) {
            (Some((_, url, schema)), _) => Self::Database(Bare::postgres(url, schema).await?),
            (_, Some(folder)) => Self::Database(Bare::sqlite(&folder.path().join("bare.db"))?),
            (None, None) => Self::Memory(BTreeMap::new()),
        })
    }

    async fn fill(&mut self, collection: &str, ids: Vec<String>) -> Result<(), BoxError> {
        match self {
            Self::Memory(map) => {
                let row = |id| ((collection.to_owned(), id), BODY.as_bytes().to_vec());
                map.extend(ids.into_iter().map(row));
                Ok(())
            }
            Self::Database(bare) => {
                let rows = ids.into_iter().map(|id| (id, 0, BODY.to_owned()));
                bare.fill(collection, rows.collect()).await
            }
        }
    }

    /// Reads what is there and puts it again, in one transaction.
    async fn commit(&mut self, collection: &str, ids: Vec<String>) -> Result<(), BoxError> {
        match self {
            Self::Memory(map) => {
                for id in ids {
                    let body = map.get_mut(&(collection.to_owned(), id)).ok_or("a row")?;
                    *body = std::hint::black_box(&*body).clone();
                }
                Ok(())
            }
            Self::Database(bare) => {
                let found = bare.get(collection, ids.clone()).await?;
                assert_eq!(found, ids.len(), "all are there");
                bare.upsert(0, collection, ids, BODY).await
            }
        }
    }
}

/// A view of one size, and how long commits to it took, in milliseconds.
struct Sized {
    size: usize,
    collection: String,
    sink: ViewSink<Counts>,
    ours: [Vec<f64>; COMMITS.len()],
    bare: [Vec<f64>; COMMITS.len()],
}

/// Commits to views of 10³, 10⁴, … documents, none of which is remembered.
pub(super) async fn growth(
    ground: &str,
    stores: Stores,
    thorough: Thorough,
) -> Result<Vec<String>, BoxError> {
    let mut bottom = Bottom::of(&stores).await?;
    let mut views = Vec::new();
    for size in SIZES.into_iter().filter(|size| *size <= thorough.documents) {
        let collection = format!("size-{size}");
        let documents = counts(&stores.state, &collection)?;
        for first in (0..size).step_by(1_000) {
            let ids: Vec<String> = (first..first + 1_000).map(|nth| format!("o-{nth}")).collect();
            documents.commit(new(&documents, &ids)?).await?;
            bottom.fill(&collection, ids).await?;
        }
        let sink = ViewSink::new(Counts, documents).with_cache(0);
        let [ours, bare] = std::array::from_fn(|_| std::array::from_fn(|_| Vec::new()));
        views.push(Sized { size, collection, sink, ours, bare });
    }
    if let Bottom::Database(bare) = &bottom {
        bare.analyze().await?;
    }
    let mut drawn = 1_u64;
    let mut draw = |below: usize| {
        drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(drawn >> 33).unwrap_or(0) % below
    };
    for round in 0..=thorough.rounds * 3 {
        for view in &mut views {
            for (kind, (events, commits)) in COMMITS.into_iter().enumerate() {
                let mut took = [Duration::ZERO; 2];
                for nth in 0..commits {
                    let keys: Vec<usize> = (0..events).map(|_| draw(view.size)).collect();
                    took[0] += view.commit(&keys, nth).await?;
                    let mut ids: Vec<String> = keys.iter().map(|key| format!("o-{key}")).collect();
                    ids.sort();
                    ids.dedup();
                    let begun = Instant::now();
                    bottom.commit(&view.collection, ids).await?;
                    took[1] += begun.elapsed();
                }
                // The first round warms up.
                if round > 0 {
                    let [ours, bare] = took.map(|took| took.as_secs_f64() * 1_000.0);
                    let figures = view.ours.get_mut(kind).zip(view.bare.get_mut(kind));
                    let (all_ours, all_bare) = figures.ok_or("no such kind")?;
                    all_ours.push(ours / f64::from(commits));
                    all_bare.push(bare / f64::from(commits));
                }
            }
        }
    }
    stores.close().await;
    Ok(lines(ground, &views))
}

fn new(documents: &Documents<u64>, ids: &[String]) -> Result<Vec<Write>, BoxError> {
    let write = |id: &String| documents.write(id.as_str(), &1_000, Expected::Absent);
    Ok(ids.iter().map(write).collect::<Result<_, _>>()?)
}

impl Sized {
    async fn commit(&mut self, keys: &[usize], nth: u32) -> Result<Duration, BoxError> {
        let mut events = Vec::new();
        for key in keys {
            let number = u64::try_from(events.len())? + 1;
            let event = StoredEventBuilder::new().with_stream(stream(*key)?);
            events.push(event.with_sequence_number(number).build());
        }
        let key = DocumentKey::new("bench", format!("place-{}", self.size))?;
        let place = Write::put(key, Payload::json(&nth)?, Expected::Any);
        let batch = Batch::of(&events, vec![place]);
        let begun = Instant::now();
        self.sink.take(&batch).await?;
        Ok(begun.elapsed())
    }
}

fn lines(ground: &str, views: &[Sized]) -> Vec<String> {
    let mut lines = Vec::new();
    for (kind, (events, _)) in COMMITS.into_iter().enumerate() {
        for view in views {
            let what = format!("commit of {events} random events at {} documents", view.size);
            for (who, of) in [("", ours as Of), (", bare", bare as Of)] {
                lines.push(line(ground, &format!("{what}{who}"), "ms", of(view, kind).to_vec()));
                let Some(first) = views.first().filter(|first| first.size != view.size) else {
                    continue;
                };
                let ratios = of(view, kind).iter().zip(of(first, kind)).map(|(at, from)| at / from);
                let what = format!("{what}{who}, to {}", first.size);
                lines.push(line(ground, &what, "ratio", ratios.collect()));
            }
        }
    }
    lines
}

type Of = fn(&Sized, usize) -> &[f64];

fn ours(view: &Sized, kind: usize) -> &[f64] {
    view.ours.get(kind).map_or(&[], Vec::as_slice)
}

fn bare(view: &Sized, kind: usize) -> &[f64] {
    view.bare.get(kind).map_or(&[], Vec::as_slice)
}
