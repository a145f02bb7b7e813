//! The store goes back, under handles that are open.

use std::num::NonZeroUsize;

use annals::{
    Error, EventName, NewEvent, Order, Position, Query, ReadOptions, StoredEvent, StreamId,
    WriteCondition,
};
use futures_util::StreamExt;

use crate::checks::support::ledger::most;
use crate::checks::support::polled_follow::{FIRST_LOOKS, LIMIT};
use crate::engine::{Failure, Outcome, ensure, ensure_eq, ensure_err};
use crate::error::chain;
use crate::generate::valid;
use crate::harness::{Hook, Variant};
use crate::storage::{Check, Need, check};
use crate::subject::{Context, Subject, but, event, within};

const BACK: Need = Need::Hook(Hook::TakeBack);

pub(super) const CHECKS: &[Check] = &[
    check!(
        "history.append_after",
        [D2],
        Required,
        [BACK],
        append_after,
        "after the store went back a living handle judges and numbers as the store is"
    ),
    check!(
        "history.others_first",
        [D2],
        Required,
        [BACK],
        others_first,
        "what others append after the store went back is read under its own streams and names"
    ),
    check!(
        "history.emptied",
        [D2],
        Required,
        [BACK],
        emptied,
        "a store that was emptied begins anew for every handle"
    ),
    check!(
        "history.ids",
        [D2],
        Required,
        [BACK],
        ids,
        "last events and ids are known exactly if the store that went back holds them"
    ),
    check!(
        "history.follow_ahead",
        [D2 R6],
        Required,
        [BACK],
        follow_ahead,
        "a follow whose last event is gone ends with AheadOfLog"
    ),
    check!(
        "history.first_look",
        [D2 R6],
        Required,
        [BACK],
        first_look,
        "the first follow of a handle ends if the store goes back as soon as it is at the head"
    ),
    check!(
        "history.read_across",
        [D2 R2],
        Required,
        [BACK, Need::Hook(Hook::PageSize)],
        read_across,
        "a read that goes on after the store went back skips nothing that is there"
    ),
];

async fn remember(cx: &Context) -> Outcome {
    let kept = cx.harness().remember(cx.namespace()).await;
    kept.map_err(|error| Failure::new(format!("not remembered: {}", chain(error.as_ref()))))
}

async fn take_back(cx: &Context) -> Outcome {
    let back = cx.harness().take_back(cx.namespace()).await;
    back.map_err(|error| Failure::new(format!("not taken back: {}", chain(error.as_ref()))))
}

fn named(name: &str) -> NewEvent {
    but(&event("happened"), |it| it.name = valid(EventName::new(name)))
}

/// Appends an event of each of these names to a stream.
async fn put(store: &Subject, to: &StreamId, names: &[String]) -> Outcome<Vec<StoredEvent>> {
    store.put(to, &names.iter().map(|name| named(name)).collect::<Vec<_>>()).await
}

fn streams(store: &Subject, what: &str, count: usize) -> Vec<StreamId> {
    (0..count).map(|nth| store.stream(what, &format!("{what}-{nth}"))).collect()
}

/// Two events in each stream, one of a name that all have and one of its own.
async fn fill(store: &Subject, to: &[StreamId]) -> Outcome<Vec<StoredEvent>> {
    let mut stored = Vec::new();
    for stream in to {
        stored.extend(put(store, stream, &["begun".to_owned(), stream.name.to_string()]).await?);
    }
    Ok(stored)
}

/// All handles and a fresh one read exactly `expected`, in order within each stream, and nothing has a hole.
async fn assert_holds(
    cx: &Context,
    handles: &[&Subject],
    streams: &[StreamId],
    expected: &[StoredEvent],
) -> Outcome {
    let fresh = cx.open().await?;
    for (nth, store) in handles.iter().copied().chain([&fresh]).enumerate() {
        for stream in streams {
            let found = store.stream_events(stream).await?;
            let wanted: Vec<_> =
                expected.iter().filter(|event| event.stream == *stream).cloned().collect();
            let what = format!("handle {nth} of {stream} after the store went back");
            store.same(&found, &wanted, &what)?;
            let whole = (0..).zip(&found).all(|(at, event)| event.position == Position::new(at));
            ensure!(whole, "{stream} has a hole in its positions: {found:?}");
        }
        let all = store.all_events(streams).await?;
        ensure_eq!(all.len(), expected.len(), "handle {nth} counted the events");
        let numbers = numbers_of_log(store).await?;
        let whole = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
        ensure!(whole, "the log has a hole in its numbers: {numbers:?}");
    }
    Ok(())
}

/// All numbers of the log, where they are to have no holes.
async fn numbers_of_log(store: &Subject) -> Outcome<Vec<u64>> {
    if !store.capabilities.contiguous_sequence || store.capabilities.order < Order::Log {
        return Ok(Vec::new());
    }
    let all = store.read(Query::All, ReadOptions::default()).await?;
    Ok(all.iter().map(|event| event.sequence_number.value()).collect())
}

/// As many of these as fit into one call.
fn fitting(store: &Subject, names: &[&str]) -> Vec<NewEvent> {
    names.iter().take(most(store)).map(|name| named(name)).collect()
}

async fn append_after(cx: Context) -> Outcome {
    for count in [1, 8] {
        let cx = cx.nested(format!("n{count}"));
        let (writer, reader, idle) = (cx.open().await?, cx.open().await?, cx.open().await?);
        let (kept, gone) = (streams(&writer, "kept", count), streams(&writer, "gone", count));
        let all = [kept.as_slice(), &gone].concat();
        let mut expected = fill(&writer, &kept).await?;
        remember(&cx).await?;
        fill(&writer, &gone).await?;
        fill(&writer, &kept).await?;
        ensure_eq!(reader.all_events(&all).await?.len(), 6 * count, "before it went back");
        take_back(&cx).await?;
        // The writer has appended last, the reader has read, and of the third nothing was ever asked.
        for (nth, (kept, gone)) in kept.iter().zip(&gone).enumerate() {
            let store = [&writer, &reader, &idle][nth % 3];
            let at = |position| WriteCondition::PositionIs(Position::new(position));
            let late = store.append(gone, vec![named("late")], at(1)).await;
            ensure_err!(late, Error::ConditionFailed(_), "PositionIs of a stream that is gone");
            let late = store.append(kept, vec![named("late")], at(3)).await;
            ensure_err!(late, Error::ConditionFailed(_), "PositionIs of events that are gone");
            expected.extend(store.append(kept, vec![named("anew")], at(1)).await?);
            let events = fitting(store, &["first", "begun"]);
            expected.extend(store.append(gone, events, WriteCondition::StreamIsEmpty).await?);
        }
        assert_holds(&cx, &[&writer, &reader, &idle], &all, &expected).await?;
    }
    Ok(())
}

async fn others_first(cx: Context) -> Outcome {
    for count in [1, 8] {
        let cx = cx.nested(format!("n{count}"));
        let (writer, reader) = (cx.open().await?, cx.open().await?);
        let (kept, gone) = (streams(&writer, "kept", count), streams(&writer, "gone", count));
        let new = streams(&writer, "new", count);
        let all = [kept.as_slice(), &gone, &new].concat();
        let mut expected = fill(&writer, &kept).await?;
        remember(&cx).await?;
        fill(&writer, &gone).await?;
        ensure_eq!(reader.all_events(&all).await?.len(), 4 * count, "before it went back");
        take_back(&cx).await?;
        expected.extend(fill(&cx.open().await?, &new).await?);
        assert_holds(&cx, &[&reader, &writer], &all, &expected).await?;
        expected.extend(fill(&writer, &gone).await?);
        expected.extend(fill(&reader, &new).await?);
        assert_holds(&cx, &[&reader, &writer], &all, &expected).await?;
    }
    Ok(())
}

async fn emptied(cx: Context) -> Outcome {
    for others_write in [false, true] {
        let cx = cx.nested(format!("o{}", u8::from(others_write)));
        let (writer, reader) = (cx.open().await?, cx.open().await?);
        remember(&cx).await?;
        let (old, new) = (streams(&writer, "old", 3), streams(&writer, "new", 2));
        let all = [old.as_slice(), &new].concat();
        fill(&writer, &old).await?;
        let first_number = numbers_of_log(&writer).await?.first().copied();
        ensure_eq!(reader.all_events(&all).await?.len(), 6, "before it was emptied");
        take_back(&cx).await?;
        let mut expected = Vec::new();
        if others_write {
            expected.extend(fill(&cx.open().await?, &new).await?);
        }
        assert_holds(&cx, &[&reader, &writer], &all, &expected).await?;
        let exists = WriteCondition::StreamExists;
        let late = writer.append(&old[2], vec![named("late")], exists).await;
        ensure_err!(late, Error::ConditionFailed(_), "StreamExists in an emptied store");
        let anew = fitting(&writer, &["anew", "begun"]);
        expected.extend(writer.append(&old[2], anew, WriteCondition::StreamIsEmpty).await?);
        let first = numbers_of_log(&writer).await?.first().copied();
        ensure_eq!(first, first_number, "the first number of an emptied store");
        assert_holds(&cx, &[&reader, &writer], &all, &expected).await?;
    }
    Ok(())
}

async fn ids(cx: Context) -> Outcome {
    let (writer, other) = (cx.open().await?, cx.open().await?);
    let stream = writer.stream("ids", "one");
    let kept = put(&writer, &stream, &["kept".to_owned()]).await?;
    remember(&cx).await?;
    let gone = put(&writer, &stream, &["gone".to_owned()]).await?;
    ensure_eq!(other.stream_events(&stream).await?.len(), 2, "before it went back");
    take_back(&cx).await?;
    let last = |event: &StoredEvent| WriteCondition::LastEventIs(event.event.id);
    let late = writer.append(&stream, vec![named("late")], last(&gone[0])).await;
    ensure_err!(late, Error::ConditionFailed(_), "LastEventIs of an event that is gone");
    let known = writer.append(&stream, vec![kept[0].event.clone()], WriteCondition::Always).await;
    ensure_err!(known, Error::DuplicateEvent(_), "the id of an event that is there");
    let again = writer.append(&stream, vec![gone[0].event.clone()], last(&kept[0])).await;
    let again = again.map_err(|error| {
        Failure::from(error).in_context("appending an event again that the store lost")
    })?;
    assert_holds(&cx, &[&writer, &other], &[stream], &[kept, again].concat()).await
}

/// Goes on to the first page at the head.
async fn reach_head(pages: &mut annals::EventPages) -> Outcome {
    let head = async {
        while let Some(page) = pages.next().await {
            if page?.at_head {
                return Ok(());
            }
        }
        Err(Failure::new("a follow ended before it was at the head"))
    };
    within(LIMIT, "the head of a follow", head).await?
}

/// What a follow has at its next page with events, or how it ends.
async fn next_events(pages: &mut annals::EventPages) -> Outcome<annals::Result<Vec<StoredEvent>>> {
    let next = async {
        while let Some(page) = pages.next().await {
            match page {
                Ok(page) if page.events.is_empty() => {}
                other => return Some(other.map(|page| page.events)),
            }
        }
        None
    };
    let next = within(LIMIT, "what a follow has to say", next).await?;
    next.ok_or(Failure::new("a follow ended without an error"))
}

async fn follow_ahead(cx: Context) -> Outcome {
    for others_write in [true, false] {
        let cx = cx.nested(format!("o{}", u8::from(others_write)));
        let writer = cx.open().await?;
        let stream = writer.stream("followed", "one");
        put(&writer, &stream, &["kept".to_owned()]).await?;
        remember(&cx).await?;
        let mut follow =
            writer.adapter.read(stream.clone().into(), ReadOptions::default().follow());
        ensure_eq!(next_events(&mut follow).await??.len(), 1, "the first page");
        put(&writer, &stream, &["gone".to_owned()]).await?;
        ensure_eq!(next_events(&mut follow).await??.len(), 1, "the second page");
        take_back(&cx).await?;
        if others_write {
            let names = ["a", "b", "c"].map(str::to_owned);
            put(&cx.open().await?, &stream, &names).await?;
        }
        let end = next_events(&mut follow).await?;
        ensure_err!(end, Error::AheadOfLog { .. }, "a follow whose last event is gone");
    }
    Ok(())
}

async fn first_look(cx: Context) -> Outcome {
    for pause in FIRST_LOOKS {
        let cx = cx.nested(format!("p{}", pause.as_millis()));
        let writer = cx.open().await?;
        let stream = writer.stream("followed", "one");
        put(&writer, &stream, &["kept".to_owned()]).await?;
        remember(&cx).await?;
        put(&writer, &stream, &["gone".to_owned()]).await?;
        let fresh = cx.open().await?;
        let mut follow = fresh.adapter.read(stream.into(), ReadOptions::default().follow());
        reach_head(&mut follow).await?;
        if !pause.is_zero() {
            let early = tokio::time::timeout(pause, next_events(&mut follow)).await;
            ensure!(early.is_err(), "a follow at the head returned {early:?}");
        }
        take_back(&cx).await?;
        let end = next_events(&mut follow).await?;
        ensure_err!(end, Error::AheadOfLog { .. }, "a first follow whose last event is gone");
    }
    Ok(())
}

async fn read_across(cx: Context) -> Outcome {
    let id = StoredEvent::id;
    let writer = cx.open().await?;
    remember(&cx).await?;
    let reader = cx.open_as(Variant::PageSize(NonZeroUsize::MIN.saturating_add(1))).await?;
    let stream = writer.stream("read", "one");
    let names: Vec<String> = (0..6).map(|nth| format!("name-{nth}")).collect();
    let old = put(&writer, &stream, &names).await?;
    let mut pages = reader.adapter.read(Query::from(stream.clone()), ReadOptions::default());
    let first = pages.next().await.transpose()?.ok_or(Failure::new("a read without a page"))?;
    let mut found = first.events;
    take_back(&cx).await?;
    let other = cx.open().await?;
    put(&other, &other.stream("read", "two"), &names).await?;
    let new = put(&other, &stream, &names).await?;
    loop {
        match pages.next().await {
            Some(Ok(page)) => found.extend(page.events),
            // It may say that the store is another one.
            Some(Err(_)) => break,
            None => {
                // It ends at the head that it began with, or at that of the store as it is now.
                let heads = [old.last(), new.last()].map(|it| it.map(|it| it.sequence_number));
                let cuts = (0..=old.len()).flat_map(|cut| heads.map(|head| (cut, head)));
                let whole = cuts.into_iter().any(|(cut, head)| {
                    let through = cut.checked_sub(1).map(|last| old[last].sequence_number);
                    let rest = new.iter().filter(|it| {
                        let number = Some(it.sequence_number);
                        number > through && number <= head
                    });
                    found.iter().map(id).eq(old[..cut].iter().chain(rest).map(id))
                });
                ensure!(whole, "a read across the change returned {found:?}");
                break;
            }
        }
    }
    let foreign = found.iter().find(|it| !old.iter().chain(&new).any(|event| id(event) == id(it)));
    ensure!(foreign.is_none(), "no event of either history: {foreign:?}");
    reader.same(&reader.stream_events(&stream).await?, &new, "what the handle reads next")
}
