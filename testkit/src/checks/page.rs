//! Pages: how a read is cut does not show, and nothing is held between polls.

use std::num::NonZeroUsize;

use annals::{Append, Query, QueryItem, ReadOptions, Source, WriteCondition};
use futures_util::{FutureExt, StreamExt};
use tokio::task::JoinSet;

use crate::checks::support::ledger::Ledger;
use crate::checks::support::polled_read::{LIMIT, LONG, Scan, handles, long, sources, streams};
use crate::checks::support::read_world::{World, named};
use crate::engine::{Failure, Outcome, ensure};
use crate::harness::{Hook, Variant};
use crate::storage::{Check, Need, check};
use crate::subject::{Context, event, events, within};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "scan.pages_large",
        [R4 R3],
        Required,
        [],
        pages_large,
        "more events than any usual page, from both ends, whole, filtered and bounded"
    ),
    check!(
        "scan.page_sweep",
        [R4],
        Required,
        [Need::Hook(Hook::PageSize)],
        page_sweep,
        "pages of every size around the number of events give the same events"
    ),
    check!(
        "scan.during_append",
        [R4 R2],
        Required,
        [],
        during_append,
        "a read under way gives all that was there, then at most what came next, and ends"
    ),
    check!(
        "scan.append_inside_loop",
        [R4],
        Required,
        [],
        append_inside_loop,
        "who reads may append and read between two pages"
    ),
    check!(
        "scan.slow_consumer",
        [R4],
        Required,
        [],
        slow_consumer,
        "a read that rests half way stops nobody, and goes on where it was"
    ),
    check!(
        "scan.drop_releases",
        [R4 A6],
        Required,
        [],
        drop_releases,
        "reads that are dropped, at whatever point, leave nothing taken"
    ),
    check!(
        "scan.lazy",
        [R1],
        Required,
        [],
        lazy,
        "a read sees what was appended before its first poll"
    ),
    check!(
        "scan.pool_of_one",
        [R4],
        Required,
        [Need::Hook(Hook::PoolOfOne)],
        pool_of_one,
        "with a single connection, reads and appends in turn and at once come to an end"
    ),
    check!(
        "scan.many_open",
        [R4],
        Required,
        [],
        many_open,
        "twenty reads that are open at once, with appends between their pages, are each right"
    ),
];

async fn pages_large(cx: Context) -> Outcome {
    let world = World::of(long(&cx, LONG).await?).await?;
    let store = &world.ledger.store;
    for source in sources(store) {
        let query = Query::from(source.clone());
        let all = world.widest(&query);
        let [low, high] = [200, 1_000].map(|nth| world.own[nth].sequence_number);
        let plain = [
            all,
            all.after(low),
            all.until(high),
            all.limit(1_000),
            all.after(low).until(high).limit(700),
        ];
        world.compare_both(&query, plain).await?;
        let even = named(&source, &["even"]);
        let rare = named(&source, &["rare"]);
        let mut filtered = vec![
            even.clone().into(),
            rare.clone().into(),
            Query::any_of([even.clone(), rare.clone()]),
            Query::any_of([rare, QueryItem::new(source.clone()), even]),
        ];
        if store.capabilities.tags {
            filtered.push(QueryItem::new(source).with_tags(store.tags(&["rare"])).into());
        }
        for query in filtered {
            world.compare_both(&query, [all]).await?;
            world.compare(&query, all.after(low).limit(400).backward()).await?;
        }
    }
    Ok(())
}

async fn page_sweep(cx: Context) -> Outcome {
    for count in [0, 1, 2, 3, 7, 20_usize] {
        let cx = cx.nested(format!("n{count}x"));
        let ledger = if count == 0 { Ledger::open(&cx).await? } else { long(&cx, count).await? };
        let world = World::of(ledger).await?;
        let mut sizes = vec![1, 2, 3, count.max(2) - 1, count.max(1), count + 1];
        // So many are in the whole category and in the whole log.
        let category = Query::from(world.ledger.store.category("orders"));
        for all in [world.matches(&category).len(), world.own.len()] {
            sizes.extend([all.max(2) - 1, all.max(1), all + 1]);
        }
        sizes.sort_unstable();
        sizes.dedup();
        for size in sizes.into_iter().filter_map(NonZeroUsize::new) {
            let store = cx.open_as(Variant::PageSize(size)).await?;
            let page = size.get() as u64;
            for source in sources(&store) {
                let queries = [
                    Query::from(source.clone()),
                    named(&source, &["even"]).into(),
                    Query::any_of([named(&source, &["even"]), named(&source, &["rare"])]),
                ];
                for (nth, query) in queries.iter().enumerate() {
                    let all = world.widest(query);
                    let mut options = vec![all, all.limit(page), all.limit(page + 1)];
                    if let Some(middle) = world.own.get(world.own.len() / 2).filter(|_| nth == 0) {
                        options.push(all.after(middle.sequence_number));
                        options.push(all.until(middle.sequence_number).limit(page));
                    }
                    for options in options {
                        world.compare_by(&store, query, options).await?;
                        world.compare_by(&store, query, options.backward()).await?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// An append to the nth of the streams in turn, which must not have to wait for anybody.
async fn append_beside(ledger: &mut Ledger, nth: usize, when: &str) -> Outcome {
    let stream = streams(&ledger.store)[nth % 3].clone();
    let batch = vec![event(["even", "happened", "rare"][nth / 3 % 3])];
    let condition = ledger.as_it_is(&stream);
    within(LIMIT, &format!("an append {when}"), ledger.one(&stream, batch, condition)).await??;
    Ok(())
}

async fn during_append(cx: Context) -> Outcome {
    let mut ledger = long(&cx, LONG).await?;
    for store in handles(&cx).await? {
        ledger = ledger.through(store.clone());
        for mut scan in Scan::all(&store) {
            // The appends come to an end, so a read that sees them does as well.
            for nth in 0..12 {
                if !scan.page(&ledger).await? {
                    break;
                }
                append_beside(&mut ledger, nth, "while a read is open").await?;
            }
            scan.finish(&ledger, "while others appended").await?;
        }
        // An upper bound and a limit hold for what comes later as well.
        let [stream, ..] = streams(&store);
        let last = ledger.stream(&stream).last().map(|event| event.sequence_number);
        let whole = ledger.stream(&stream).len() as u64;
        let all = ReadOptions::default();
        let bounded = [all.until(last.unwrap_or_default()), all.limit(whole + 1), all.limit(whole)];
        for options in bounded {
            let mut scan = Scan::new(&store, stream.clone(), options);
            scan.page(&ledger).await?;
            for nth in [0, 3, 6] {
                append_beside(&mut ledger, nth, "while a bounded read is open").await?;
            }
            scan.finish(&ledger, "while others appended").await?;
        }
    }
    ledger.verify("after reads beside appends").await
}

async fn append_inside_loop(cx: Context) -> Outcome {
    let mut ledger = long(&cx, LONG).await?;
    for store in handles(&cx).await? {
        ledger = inside_loop(ledger.through(store)).await?;
    }
    ledger.verify("after appends inside reading loops").await
}

/// Appends and reads between the pages of every kind of read, a bounded number of times.
async fn inside_loop(mut ledger: Ledger) -> Outcome<Ledger> {
    let store = ledger.store.clone();
    let [stream, ..] = streams(&store);
    for mut scan in Scan::all(&store) {
        let mut nth = 0;
        while scan.page(&ledger).await? && nth < 9 {
            for _ in 0..3 {
                append_beside(&mut ledger, nth, "inside a reading loop").await?;
                nth += 1;
            }
            let latest = store.latest(stream.clone());
            let latest = within(LIMIT, "a read inside a reading loop", latest).await??;
            let last = ledger.stream(&stream).last().cloned();
            store.same(latest.as_slice(), last.as_slice(), "the latest, inside a reading loop")?;
        }
        scan.finish(&ledger, "with appends inside the loop").await?;
    }
    Ok(ledger)
}

async fn slow_consumer(cx: Context) -> Outcome {
    let mut ledger = long(&cx, LONG).await?;
    for store in handles(&cx).await? {
        let mut scans = Scan::all(&store);
        for scan in &mut scans {
            scan.page(&ledger).await?;
        }
        let second = cx.open().await?;
        for handle in [store.clone(), second] {
            ledger = ledger.through(handle);
            for nth in 0..24 {
                append_beside(&mut ledger, nth, "while reads rest").await?;
            }
            within(LIMIT, "reads while others rest", ledger.verify("while reads rest")).await??;
        }
        for scan in scans {
            scan.finish(&ledger, "after a rest").await?;
        }
    }
    Ok(())
}

async fn drop_releases(cx: Context) -> Outcome {
    let mut ledger = long(&cx, LONG).await?;
    for store in handles(&cx).await? {
        ledger = ledger.through(store.clone());
        for round in 0..2 {
            for nth in 0..4 {
                for mut scan in Scan::all(&store) {
                    match (nth + round) % 4 {
                        // Never polled.
                        0 => {}
                        // Given up at the first wait.
                        1 => drop(scan.pages.next().now_or_never()),
                        2 => drop(scan.page(&ledger).await?),
                        _ => {
                            scan.page(&ledger).await?;
                            drop(scan.pages.next().now_or_never());
                        }
                    }
                }
            }
            append_beside(&mut ledger, round, "after dropped reads").await?;
            for scan in Scan::all(&store) {
                scan.finish(&ledger, "after dropped reads").await?;
            }
        }
    }
    within(LIMIT, "reads after dropped ones", ledger.verify("after dropped reads")).await?
}

async fn lazy(cx: Context) -> Outcome {
    let mut ledger = long(&cx, 20).await?;
    let store = ledger.store.clone();
    for round in 0..3 {
        let mut scans = Scan::all(&store);
        for source in sources(&store).into_iter().filter(|source| *source != Source::Log) {
            scans.push(Scan::new(&store, source.clone(), ReadOptions::last(1)));
            scans.push(Scan::new(&store, source, ReadOptions::default().limit(1_000)));
        }
        // Nothing of a stream is read before the poll, not even that it is empty.
        let new = store.stream("orders", &format!("new-{round}"));
        scans.push(Scan::new(&store, new.clone(), ReadOptions::default()));
        let idle: Vec<_> = (0..100).map(|_| Scan::all(&store)).collect();
        for nth in 0..9 {
            append_beside(&mut ledger, nth, "beside reads that were not polled").await?;
        }
        ledger.one(&new, events(1), WriteCondition::StreamIsEmpty).await?;
        drop(idle);
        for scan in scans {
            scan.finish(&ledger, "appended between `read` and the first poll").await?;
        }
    }
    Ok(())
}

async fn pool_of_one(cx: Context) -> Outcome {
    let ledger = long(&cx, LONG).await?;
    let store = cx.open_as(Variant::PoolOfOne).await?;
    let mut ledger = inside_loop(ledger.through(store.clone())).await?;
    let mut scans = Scan::all(&store);
    for nth in 0..4 {
        for scan in &mut scans {
            scan.page(&ledger).await?;
        }
        append_beside(&mut ledger, nth, "between reads in turn").await?;
    }
    for scan in scans {
        scan.finish(&ledger, "with one connection").await?;
    }
    let mut tasks = JoinSet::new();
    for nth in 0..16 {
        let store = store.clone();
        tasks.spawn(async move {
            let stream = store.stream("tasks", &format!("{nth}"));
            for round in 0..4 {
                let write = Append::new(stream.clone(), events(1), WriteCondition::Always);
                store.adapter.append(vec![write]).await?;
                let found = store.stream_events(&stream).await?.len();
                ensure!(found == round + 1, "a stream has {found} events after {}", round + 1);
            }
            Ok(())
        });
    }
    let ended = async {
        while let Some(done) = tasks.join_next().await {
            done.map_err(|error| Failure::new(error.to_string()))??;
        }
        Ok(())
    };
    within(LIMIT * 2, "sixteen tasks with one connection", ended).await?
}

async fn many_open(cx: Context) -> Outcome {
    let mut ledger = long(&cx, LONG).await?;
    for store in handles(&cx).await? {
        ledger = ledger.through(store.clone());
        let mut scans = Vec::new();
        while scans.len() < 20 {
            scans.extend(Scan::all(&store));
        }
        for nth in 0..6 {
            for scan in &mut scans {
                scan.page(&ledger).await?;
            }
            append_beside(&mut ledger, nth, "while many reads are open").await?;
        }
        for scan in scans {
            scan.finish(&ledger, "of many open at once").await?;
        }
    }
    Ok(())
}
