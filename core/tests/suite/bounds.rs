//! What must compile: everything can be shared between threads, futures can be sent, adapters are objects.

use std::fmt::Debug;
use std::sync::Arc;

use annals::adapter::Facts;
use annals::{
    Append, BoxError, Capabilities, Error, EventCategory, EventLog, EventPages, EventRecord,
    EventStore, EventStream, Events, Handlers, InvalidName, InvalidPayload, NewEvent, Payload,
    Predicate, Progress, Projection, Projector, Query, ReadOptions, StorageAdapter, StoredEvent,
    StreamId, SystemClock, Unmet, WriteCondition, retry_on_condition_failed,
};
use annals_memory::MemoryAdapter;

fn shared<T: Send + Sync + Debug + 'static>() {}

fn sent<T: Send + 'static>(value: T) -> T {
    value
}

#[test]
fn types_are_shared_between_threads() {
    shared::<(Append, Capabilities, Facts, Unmet, WriteCondition)>();
    shared::<(Query, ReadOptions, StreamId, Payload, SystemClock)>();
    shared::<(NewEvent, StoredEvent, EventRecord, Progress, Projection<u8>)>();
    shared::<(EventStore, EventStream, EventCategory, EventLog)>();
    shared::<(Error, InvalidName, InvalidPayload, BoxError)>();
    shared::<(Handlers<u8>, MemoryAdapter)>();
    shared::<(Arc<dyn StorageAdapter>, Box<dyn StorageAdapter>, Arc<dyn Predicate>)>();
    let _: Option<Box<dyn Projector<State = u8> + Send + Sync>> = None;
}

/// Each future of the facade can be given to another task together with all that it uses.
#[tokio::test]
async fn futures_are_sent_between_threads() {
    let store = EventStore::new(MemoryAdapter::new());
    let stream = store.stream(StreamId::from_static("a", "b"));
    let event = || NewEvent::json("opened", &1).expect("valid");
    let count = || {
        Handlers::new("count", 0).on_missing(|count, _| {
            *count += 1;
            Ok(())
        })
    };
    let tasks = (stream.clone(), stream.clone(), store.clone());
    let done = tokio::spawn(async move {
        tasks.0.append([event()], WriteCondition::Always).await?;
        tasks.2.append(vec![Append::guard(tasks.0.id().clone(), WriteCondition::Always)]).await?;
        let mut projection = tasks.1.project(&count()).await?;
        tasks.2.log().resume(&count(), &mut projection).await?;
        tasks.2.latest(Query::all()).await?;
        let attempts = 2.try_into().expect("not 0");
        let stream = tasks.0.clone();
        let again = async || stream.append([event()], WriteCondition::StreamExists).await;
        retry_on_condition_failed(attempts, again).await?;
        sent::<Events>(tasks.1.read(ReadOptions::default())).into_vec().await
    });
    assert_eq!(done.await.expect("no panic").expect("reads").len(), 2);
    let mut pages: EventPages = sent(stream.pages(ReadOptions::default()));
    let page = futures_util::StreamExt::next(&mut pages).await.expect("a page");
    assert_eq!(page.expect("reads").events.len(), 2);
}

/// A wrapper of any kind of pointer is the adapter that it wraps.
#[tokio::test]
async fn pointers_to_adapters_are_adapters() {
    let memory = MemoryAdapter::new();
    let pointers: [Box<dyn StorageAdapter>; 3] = [
        Box::new(memory.clone()),
        Box::new(Arc::new(memory.clone()) as Arc<dyn StorageAdapter>),
        Box::new(Box::new(memory.clone()) as Box<dyn StorageAdapter>),
    ];
    for (nth, pointer) in pointers.into_iter().enumerate() {
        assert_eq!(pointer.name(), memory.name());
        assert_eq!(pointer.capabilities(), memory.capabilities());
        let store = EventStore::new(pointer);
        let event = NewEvent::json("opened", &1).expect("valid");
        let stream = store.stream(StreamId::from_static("a", "b"));
        stream.append([event], WriteCondition::Always).await.expect("appends");
        assert_eq!(
            store.log().read(ReadOptions::default()).into_vec().await.expect("reads").len(),
            nth + 1
        );
    }
}
