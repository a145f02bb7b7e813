//! Orders, reservations and payments that follow one another: a system in one thread, in tasks, or in several processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annals::{
    BoxError, EventStore, NewEvent, Query, QueryItem, ReadOptions, Source, StoredEvent, StreamId,
    WriteCondition,
};
use annals_processing::{
    Applications, Group, LogUpTo, Out, Partitions, Policy, Processor, System, SystemTimer, View,
    async_trait,
};
use annals_state::{Collection, DocumentId, Documents, StateStore};

const CATEGORIES: [&str; 3] = ["orders", "reservations", "payments"];

/// After an event of one name, an event of another name in a category, in the stream of the order.
struct Answers(&'static [(&'static str, &'static str, &'static str)]);

#[async_trait]
impl Policy for Answers {
    async fn react(&self, event: &StoredEvent, _: &LogUpTo, out: &mut Out) -> Result<(), BoxError> {
        for (on, category, then) in self.0 {
            if event.name() == on {
                let stream = StreamId::new(*category, event.stream.name.as_str())?;
                let answer = NewEvent::json(*then, event.stream.name.as_str())?;
                out.append(stream, [answer], WriteCondition::Always)?;
            }
        }
        Ok(())
    }
}

/// Who follows whom: a reservation for each order, and a payment once it is reserved.
///
/// # Errors
/// None, as long as the names fit together.
pub fn system() -> Result<Applications, BoxError> {
    let orders = Answers(&[("made", "orders", "order-reserved"), ("paid", "orders", "order-paid")]);
    Ok(System::new()
        .application("orders", orders)?
        .application("reservations", Answers(&[("order-placed", "reservations", "made")]))?
        .application("payments", Answers(&[("order-reserved", "payments", "paid")]))?
        .pipe(["orders", "reservations", "orders"])
        .pipe(["orders", "payments", "orders"])
        .build()?)
}

/// Places orders with these numbers.
///
/// # Errors
/// Those of the store.
pub async fn place(store: &EventStore, numbers: std::ops::Range<u32>) -> Result<(), BoxError> {
    for number in numbers {
        let order = store.stream(StreamId::new("orders", format!("o-{number}"))?);
        let placed = NewEvent::json("order-placed", &number)?;
        order.append([placed], WriteCondition::StreamIsEmpty).await?;
    }
    Ok(())
}

fn all() -> Result<Query, BoxError> {
    let items: Result<Vec<QueryItem>, BoxError> = CATEGORIES
        .into_iter()
        .map(|name| Ok(QueryItem::new(Source::Category(annals::CategoryName::new(name)?))))
        .collect();
    Ok(Query::any_of(items?))
}

/// How many events of each name there are.
///
/// # Errors
/// Those of the store.
pub async fn counts(store: &EventStore) -> Result<BTreeMap<String, usize>, BoxError> {
    let mut counts = BTreeMap::new();
    for event in store.read(all()?, ReadOptions::default()).into_vec().await? {
        *counts.entry(event.name().as_str().to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// Whether so many orders are reserved and paid, each once.
///
/// # Errors
/// Those of the store.
pub async fn is_done(store: &EventStore, orders: usize) -> Result<bool, BoxError> {
    let counts = counts(store).await?;
    let names = ["order-placed", "made", "order-reserved", "paid", "order-paid"];
    Ok(counts.len() == names.len() && names.iter().all(|name| counts.get(*name) == Some(&orders)))
}

/// What happened to each order, in any order of its streams.
#[derive(Debug, Clone, Copy)]
pub struct Journal;

impl View for Journal {
    type State = Vec<String>;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        Ok(vec![DocumentId::new(event.stream.name.as_str())?])
    }

    fn apply(
        &self,
        _: &DocumentId,
        names: &mut Option<Vec<String>>,
        event: &StoredEvent,
    ) -> Result<(), BoxError> {
        names.get_or_insert_default().push(event.name().as_str().to_owned());
        Ok(())
    }
}

/// The documents of the journal.
///
/// # Errors
/// None.
pub fn journal(state: &Arc<dyn StateStore>) -> Result<Documents<Vec<String>>, BoxError> {
    Ok(Collection::new("journal")?.on(Arc::clone(state)))
}

/// Whether the journal says of each of so many orders everything that happened, each once.
///
/// # Errors
/// Those of the store.
pub async fn is_noted(state: &Arc<dyn StateStore>, orders: u32) -> Result<bool, BoxError> {
    let journal = journal(state)?;
    for number in 0..orders {
        let found = journal.get(format!("o-{number}")).await?;
        let mut names = found.map(|found| found.value).unwrap_or_default();
        names.sort_unstable();
        if names != ["made", "order-paid", "order-placed", "order-reserved", "paid"] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Works on the share of this process, with three parts for each application and for the journal, until it is killed.
///
/// # Errors
/// The first error of a node.
///
/// # Cancel safety
/// As [`Group::run`].
pub async fn share(
    store: &EventStore,
    state: &Arc<dyn StateStore>,
    beat: Duration,
) -> Result<(), BoxError> {
    let parts = Partitions::hash(3)?;
    let timer = SystemTimer::new();
    let (log, documents, query) = (store.clone(), journal(state)?, all()?);
    let noting = Group::new(parts.clone(), move || {
        let made = Processor::view("journal", &log, documents.clone(), Journal, timer)?;
        made.with_beat(beat).with_query(query.clone())
    })?;
    let mut groups = system()?.groups(store, state, &timer, &parts)?;
    groups.push(("journal".into(), noting));
    let mut running = tokio::task::JoinSet::new();
    for (_, group) in groups {
        running.spawn(group.with_beat(beat, beat * 5).run());
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}
