//! The parts alone: `cargo bench -p annals-benches`.

use std::hint::black_box;

use annals::adapter::Facts;
use annals::{
    Append, EventStore, Payload, Position, Query, QueryItem, ReadOptions, SequenceNumber, Source,
    StorageAdapter, StoredEvent, StreamId, Tags, WriteCondition,
};
use annals_benches::sample;
use annals_memory::MemoryAdapter;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime without I/O")
}

fn stream() -> StreamId {
    StreamId::from_static("orders", "o-1")
}

fn tags() -> Tags {
    Tags::parse(["customer:c-88120", "article:ax-4471"]).expect("the tags are valid")
}

fn conditions(c: &mut Criterion) {
    let facts = Facts::new(Some(Position::new(41)));
    let simple = WriteCondition::PositionIs(Position::new(41));
    let composed = (WriteCondition::StreamExists & simple.clone()) | WriteCondition::StreamIsEmpty;
    let mut group = c.benchmark_group("condition");
    for (name, condition) in [("position", simple), ("composed", composed)] {
        group.bench_function(name, |b| {
            b.iter(|| black_box(&condition).evaluate(&stream(), black_box(&facts)).is_ok());
        });
    }
    group.finish();
}

fn queries(c: &mut Criterion) {
    let event = StoredEvent::new(
        sample::event().with_tags(tags()),
        stream(),
        Position::new(0),
        SequenceNumber::new(1),
        time::OffsetDateTime::UNIX_EPOCH,
    );
    let by_name = Query::from(
        QueryItem::new(Source::Log).with_names([sample::NAME]).expect("the name is valid"),
    );
    let by_tag = Query::from(QueryItem::new(Source::Log).with_tags(tags()));
    let mut group = c.benchmark_group("query match");
    for (name, query) in [("all", Query::all()), ("name", by_name), ("tags", by_tag)] {
        group.bench_function(name, |b| b.iter(|| black_box(&query).matches(black_box(&event))));
    }
    group.finish();
}

fn payloads(c: &mut Criterion) {
    let mut group = c.benchmark_group("payload");
    group.throughput(Throughput::Bytes(sample::PAYLOAD.len() as u64));
    group.bench_function("check JSON", |b| {
        b.iter(|| Payload::json_bytes(black_box(sample::PAYLOAD)).is_ok());
    });
    group.finish();
}

fn memory(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("memory");
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("append 10", |b| {
        let batches = || -> Vec<Append> {
            let batch = |nth: u64| {
                let condition = match nth {
                    0 => WriteCondition::StreamIsEmpty,
                    nth => WriteCondition::PositionIs(Position::new(nth * 10 - 1)),
                };
                Append::new(stream(), (0..10).map(|_| sample::event()), condition)
            };
            (0..1_000).map(batch).collect()
        };
        b.iter_batched(
            || (MemoryAdapter::new(), batches()),
            |(adapter, batches)| {
                runtime.block_on(async {
                    for batch in batches {
                        black_box(adapter.append(vec![batch]).await.expect("the condition holds"));
                    }
                });
                adapter
            },
            BatchSize::LargeInput,
        );
    });
    let store = EventStore::new(MemoryAdapter::new());
    let events: Vec<_> = (0..10_000).map(|_| sample::event()).collect();
    runtime
        .block_on(store.stream(stream()).append(events, WriteCondition::Always))
        .expect("nothing refuses it");
    group.bench_function("read log", |b| {
        b.iter(|| runtime.block_on(store.log().read(ReadOptions::default()).into_vec()));
    });
    group.bench_function("fold log", |b| {
        b.iter(|| runtime.block_on(store.log().project(&annals_benches::annals_store::Counted)));
    });
    group.finish();
}

criterion_group!(benches, conditions, queries, payloads, memory);
criterion_main!(benches);
