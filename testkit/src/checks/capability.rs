//! What is declared is constant, what is not is refused, and what refusals say.

use annals::{
    Append, Error, Metadata, Order, Payload, Query, QueryItem, ReadOptions, SequenceNumber, Source,
    WriteCondition,
};

use crate::checks::support::judged_conditions::{Form, Judged};
use crate::checks::support::ledger::{Ledger, always, describe, light, most};
use crate::checks::support::refused_calls::{
    Refusal, around, every_refusal, impossible_times, lacking, outermost_times, unsupported,
};
use crate::engine::{Failure, Outcome, ensure, ensure_eq, ensure_err};
use crate::error::chain;
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, Subject, events};

pub(super) const CHECKS: &[Check] = &[
    check!(
        "cap.constant",
        [C1],
        Required,
        [],
        constant,
        "capabilities and name stay the same, on every handle"
    ),
    check!(
        "cap.multi_refused",
        [C1 A5],
        Required,
        [Need::Lacks(Feature::MultiStreamAppend)],
        multi_refused,
        "several streams in a call are refused where they are not declared"
    ),
    check!(
        "cap.query_conditions_refused",
        [C1 A5],
        Required,
        [Need::Lacks(Feature::QueryConditions)],
        query_conditions_refused,
        "conditions on queries are refused where they are not declared"
    ),
    check!(
        "cap.custom_refused",
        [C1 A5],
        Required,
        [Need::Lacks(Feature::CustomConditions)],
        custom_refused,
        "custom conditions are rejected if they are not declared"
    ),
    check!(
        "cap.tags_refused",
        [C1 A5],
        Required,
        [Need::Lacks(Feature::Tags)],
        tags_refused,
        "tags are refused where they are not declared: of events, in reads and in conditions"
    ),
    check!(
        "cap.order_refused",
        [C1 R2],
        Required,
        [Need::Lacks(Feature::LogOrder)],
        order_refused,
        "a read wider than the declared order is refused, unless skips are allowed"
    ),
    check!(
        "cap.nested_conditions_refused",
        [C1 A5],
        Required,
        [Need::Lacks(Feature::QueryConditions)],
        nested_conditions_refused,
        "undeclared conditions on queries are refused anywhere in a composition"
    ),
    check!(
        "cap.nested_custom_refused",
        [C1 A5],
        Required,
        [Need::Lacks(Feature::CustomConditions)],
        nested_custom_refused,
        "undeclared conditions of the caller's own are refused anywhere in a composition"
    ),
    check!("err.nothing_written", [A5 A3], Required, [], nothing_written, "each kind of refusal leaves the log as it was"),
    check!(
        "err.messages",
        [A5],
        Required,
        [],
        messages,
        "errors name both sides, and tell neither payloads nor metadata"
    ),
    check!("err.time_range", [A5 R3], Required, [], time_range, "times that no store keeps are invalid, wherever they come"),
    check!(
        "err.named",
        [C1],
        Required,
        [],
        named,
        "an error of something unsupported names the adapter"
    ),
];

/// Appends that must be refused as unsupported; nothing of them is stored.
async fn refuses(ledger: &mut Ledger, calls: Vec<Vec<Append>>) -> Outcome {
    let stream = ledger.store.stream("orders", "existing");
    for call in calls {
        let described = describe(&call);
        let refused = ledger.refused(call, "it is not declared").await?;
        ensure_err!(Err::<(), _>(refused), Error::Unsupported { .. }, "{described}");
    }
    let others = ["m-1", "tagged", "refused"].map(|name| ledger.store.stream("orders", name));
    let users = ["m-2", "tagged"].map(|name| ledger.store.stream("users", name));
    let others: Vec<_> = others.iter().chain(&users).collect();
    ledger.verify_with(&others, "after unsupported calls").await?;
    ledger.one(&stream, events(1), ledger.as_it_is(&stream)).await?;
    ledger.verify_with(&others, "after unsupported calls and one that is supported").await?;
    ledger.verify_no_hole("after unsupported calls").await
}

async fn refuses_feature(cx: &Context, feature: Feature) -> Outcome {
    let mut ledger = Ledger::open(cx).await?;
    let stream = ledger.filled("existing", 2).await?;
    for _ in 0..2 {
        for stream in [&stream, &ledger.store.stream("orders", "refused")] {
            let calls = unsupported(&ledger, feature, stream);
            refuses(&mut ledger, calls).await?;
        }
        ledger = ledger.through(cx.open().await?);
    }
    Ok(())
}

async fn constant(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let (declared, name) = (ledger.store.capabilities, ledger.store.adapter.name().to_owned());
    ensure!(!name.trim().is_empty(), "the adapter has no name");
    let same = |store: &Subject, when: &str| {
        for _ in 0..3 {
            ensure_eq!(store.adapter.capabilities(), declared, "the capabilities {when}");
            ensure_eq!(store.adapter.name(), name, "the name {when}");
        }
        Ok(())
    };
    same(&ledger.store, "when asked again")?;
    let stream = ledger.filled("existing", 3).await?;
    same(&ledger.store, "after appends")?;
    ledger.store.stream_events(&stream).await?;
    ledger.store.latest(stream.clone()).await?;
    same(&ledger.store, "after reads")?;
    for refusal in every_refusal(&ledger, &stream) {
        ledger.refused(refusal.call, refusal.why).await?;
    }
    same(&ledger.store, "after refusals")?;
    for nth in 0..3 {
        let other = cx.open().await?;
        same(&other, &format!("of handle {nth}"))?;
        ledger = ledger.through(other);
        ledger.one(&stream, events(1), WriteCondition::Always).await?;
        same(&ledger.store, &format!("of handle {nth} after an append"))?;
    }
    let first = cx.open().await?;
    same(&first, "in the end")
}

async fn multi_refused(cx: Context) -> Outcome {
    refuses_feature(&cx, Feature::MultiStreamAppend).await
}

async fn query_conditions_refused(cx: Context) -> Outcome {
    refuses_feature(&cx, Feature::QueryConditions).await
}

async fn custom_refused(cx: Context) -> Outcome {
    refuses_feature(&cx, Feature::CustomConditions).await
}

async fn tags_refused(cx: Context) -> Outcome {
    refuses_feature(&cx, Feature::Tags).await?;
    let store = cx.open().await?;
    let stream = store.stream("orders", "existing");
    let tagged = |source: Source| QueryItem::new(source).with_tags(store.tags(&["tag"]));
    let plain = || QueryItem::new(stream.clone());
    let mine = || Source::from(stream.clone());
    let mut queries = vec![
        Query::from(tagged(mine())),
        Query::any_of([plain(), tagged(mine())]),
        Query::any_of([tagged(mine()), plain()]),
        Query::from(tagged(store.stream("orders", "missing").into())),
    ];
    if store.capabilities.order >= Order::Category {
        queries.push(tagged(stream.category.clone().into()).into());
    }
    if store.capabilities.order >= Order::Log {
        queries.push(tagged(Source::Log).into());
    }
    for query in queries {
        refuses_read(&store, &query).await?;
    }
    Ok(())
}

/// The read is refused in every direction and part of it.
async fn refuses_read(store: &Subject, query: &Query) -> Outcome {
    let all = ReadOptions::default();
    for options in [all, all.backward(), all.limit(1), ReadOptions::last(1)] {
        let read = store.try_read(query.clone(), options).await?;
        let found = read.map(|events| events.len());
        ensure_err!(found, Error::Unsupported { .. }, "the read of {query} with {options:?}");
    }
    Ok(())
}

async fn order_refused(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let streams = [("orders", "a"), ("orders", "b"), ("users", "a")]
        .map(|(category, name)| ledger.store.stream(category, name));
    for _ in 0..2 {
        for stream in &streams {
            ledger.one(stream, events(1), WriteCondition::Always).await?;
        }
    }
    let store = ledger.store.clone();
    let [a, b, c] = streams.each_ref().map(|stream| QueryItem::new(stream.clone()));
    let category = |item: &QueryItem| match &item.source {
        Source::Stream(stream) => QueryItem::new(stream.category.clone()),
        _ => item.clone(),
    };
    let log = [
        Query::all(),
        Source::Log.into(),
        Query::any_of([a.clone(), c.clone()]),
        Query::any_of([a.clone(), QueryItem::new(Source::Log)]),
        Query::any_of([category(&a), category(&c)]),
        QueryItem::new(Source::Log).with_names(["happened"]).map_err(Error::from)?.into(),
    ];
    let within_category = [
        category(&a).into(),
        Query::any_of([a.clone(), b.clone()]),
        Query::any_of([a.clone(), category(&a)]),
        category(&a).with_names(["happened"]).map_err(Error::from)?.into(),
    ];
    let wide: Vec<Query> = match store.capabilities.order {
        Order::Stream => log.into_iter().chain(within_category).collect(),
        _ => log.into_iter().collect(),
    };
    for query in wide {
        refuses_read(&store, &query).await?;
        // A caller that allows skips gets what is there: at rest nothing is skipped.
        let expected = ledger.sorted(|_| true);
        let expected: Vec<_> = expected.into_iter().filter(|event| query.matches(event)).collect();
        let first = expected.first().map_or(0, |event| event.sequence_number.value());
        let part = ReadOptions::default()
            .after(SequenceNumber::new(first.saturating_sub(1)))
            .allow_skips();
        let mut found = store.read(query.clone(), part).await?;
        found.retain(|event| store.owns(event));
        store.same(&found, &expected, &format!("the read of {query} that allows skips"))?;
        let mut found = store.read(query.clone(), part.backward()).await?;
        found.retain(|event| store.owns(event));
        found.reverse();
        store.same(
            &found,
            &expected,
            &format!("the backward read of {query} that allows skips"),
        )?;
    }
    // What is not wider is read, also as several alternatives.
    let named = a.clone().with_names(["happened"]).map_err(Error::from)?;
    for query in [Query::from(a.clone()), Query::any_of([a.clone(), named])] {
        let found = store.read(query.clone(), ReadOptions::default()).await?;
        store.same(&found, ledger.stream(&streams[0]), &format!("the read of {query}"))?;
    }
    ledger.verify("after reads that were refused").await
}

/// Undeclared leaves in compositions, in every form of call.
async fn nested_refused(cx: &Context, leaves: impl Fn(&Ledger) -> Vec<WriteCondition>) -> Outcome {
    let mut ledger = Ledger::open(cx).await?;
    ledger.filled("existing", 2).await?;
    for name in ["existing", "refused"] {
        let stream = ledger.store.stream("orders", name);
        let mut calls = Vec::new();
        for leaf in leaves(&ledger) {
            for condition in around(&leaf) {
                for form in Form::all(&ledger.store) {
                    calls.push(form.call(&ledger.store, &stream, condition.clone()));
                }
            }
        }
        refuses(&mut ledger, calls).await?;
    }
    Ok(())
}

async fn nested_conditions_refused(cx: Context) -> Outcome {
    nested_refused(&cx, |ledger| {
        let stream = ledger.store.stream("orders", "existing");
        let none = |after| WriteCondition::no_match(stream.clone(), after);
        vec![none(SequenceNumber::START), none(SequenceNumber::MAX)]
    })
    .await
}

async fn nested_custom_refused(cx: Context) -> Outcome {
    nested_refused(&cx, |ledger| {
        let stream = ledger.store.stream("orders", "existing");
        let calls = unsupported(ledger, Feature::CustomConditions, &stream);
        calls
            .into_iter()
            .flatten()
            .map(|write| write.condition)
            .filter(WriteCondition::needs_last_event)
            .take(2)
            .collect()
    })
    .await
}

async fn nothing_written(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let stream = ledger.filled("existing", 3).await?;
    let untouched = [
        ("orders", "refused"),
        ("orders", "m-1"),
        ("users", "m-2"),
        ("users", "tagged"),
        ("beside", "another"),
    ]
    .map(|(category, name)| ledger.store.stream(category, name));
    let untouched: Vec<_> = untouched.iter().collect();
    for turn in 0..2 {
        for Refusal { why, call, is } in every_refusal(&ledger, &stream) {
            let described = describe(&call);
            let error = ledger.refused(call, why).await?;
            ensure!(is(&error), "{described} ({why}): found the error: {}", chain(&error));
            ledger.verify_with(&untouched, &format!("after a refusal because {why}")).await?;
        }
        ledger.one(&stream, events(1), ledger.as_it_is(&stream)).await?;
        ledger.verify_no_hole(&format!("after refusals of every kind, turn {turn}")).await?;
        ledger = ledger.through(cx.open().await?);
        ledger.verify_with(&untouched, "after refusals, by another handle").await?;
    }
    Ok(())
}

async fn messages(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let stream = ledger.filled("existing", 3).await?;
    let secrets = ["Hunter2-payload", "Hunter2-metadata"];
    let payload = Payload::json(&serde_json::json!({ "card": secrets[0] })).map_err(Error::from)?;
    let metadata = Metadata::json(&serde_json::json!({ "by": secrets[1] })).map_err(Error::from)?;
    for Refusal { why, mut call, .. } in every_refusal(&ledger, &stream) {
        for event in call.iter_mut().flat_map(|write| &mut write.events) {
            event.metadata = Some(metadata.clone());
            let size = event.payload.as_bytes().len();
            event.payload = if size > 1_000 {
                Payload::bytes(secrets[0].repeat(size / secrets[0].len() + 1))
            } else {
                payload.clone()
            };
        }
        let (described, streams) = (describe(&call), call.len());
        let error = ledger.refused(call, why).await?;
        let told = told(&error);
        for secret in secrets {
            for form in [secret.to_owned(), in_bytes(secret), in_hex(secret)] {
                ensure!(
                    !told.contains(&form),
                    "the error of {described} ({why}) tells what an event says: {told}"
                );
            }
        }
        if let (Error::ConditionFailed(unmet), 1) = (&error, streams) {
            let text = error.to_string();
            let head = ledger.stream(&stream).len().saturating_sub(1).to_string();
            for part in [stream.to_string(), head, unmet.failed.to_string()] {
                ensure!(
                    text.contains(&part),
                    "the refusal of {described} says \"{text}\", without \"{part}\""
                );
            }
        }
        if let Error::DuplicateEvent(id) = &error {
            let text = error.to_string();
            ensure!(
                text.contains(&id.to_string()),
                "a duplicate is told as \"{text}\", without its id {id}"
            );
        }
        ensure!(
            !error.is_retryable(),
            "the error of {described} ({why}) claims that a retry may help: {error}"
        );
    }
    Ok(())
}

/// All that an error and its sources tell, to users and to developers.
fn told(error: &Error) -> String {
    let mut told = vec![format!("{error} {error:?}")];
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        told.push(format!("{source} {source:?}"));
        next = source.source();
    }
    told.join(" ")
}

/// The text as a list of bytes prints.
fn in_bytes(text: &str) -> String {
    let bytes: Vec<_> = text.bytes().map(|byte| byte.to_string()).collect();
    bytes.join(", ")
}

fn in_hex(text: &str) -> String {
    let digits: Vec<_> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

async fn time_range(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let stream = ledger.filled("existing", 1).await?;
    let (room, multi) = (most(&ledger.store), ledger.store.capabilities.multi_stream_append);
    let [fresh, other] = ["fresh", "other"].map(|name| ledger.store.stream("orders", name));
    for time in impossible_times() {
        for to in [&stream, &fresh] {
            for place in 0..room.min(4) {
                let mut batch = light(room.min(4));
                batch[place].occurred_at = time;
                let write = always(to, batch);
                let why = format!("event {place} occurs at {time}");
                if multi && room >= 5 {
                    for call in [
                        vec![always(&other, light(1)), write.clone()],
                        vec![write.clone(), always(&other, light(1))],
                    ] {
                        ledger.invalid(call, &why).await?;
                    }
                }
                ledger.invalid(vec![write], &why).await?;
            }
        }
        ledger.verify_with(&[&fresh, &other], "after times that cannot be stored").await?;
    }
    for time in outermost_times() {
        let batch = light(1).into_iter().map(|event| event.with_occurred_at(time)).collect();
        ledger.one(&fresh, batch, ledger.as_it_is(&fresh)).await?;
    }
    ledger.verify_with(&[&other], "after the first and the last times").await?;
    ledger.verify_no_hole("after times that cannot be stored").await
}

async fn named(cx: Context) -> Outcome {
    let ledger = &mut Ledger::open(&cx).await?;
    let stream = ledger.filled("existing", 2).await?;
    let name = ledger.store.adapter.name();
    let proper = |error: &Error, call: &str| match error {
        Error::Unsupported { adapter, what } => {
            ensure_eq!(*adapter, name, "the adapter that the refusal of {call} names");
            ensure!(
                !what.trim().is_empty(),
                "the refusal of {call} does not tell what is unsupported"
            );
            let text = error.to_string();
            ensure!(
                text.contains(name) && text.contains(what),
                "the refusal of {call} says \"{text}\""
            );
            Ok(())
        }
        other => {
            Err(Failure::new(format!("{call}: expected Unsupported, found: {}", chain(other))))
        }
    };
    for feature in lacking(&ledger.store) {
        for call in unsupported(ledger, feature, &stream) {
            let described = describe(&call);
            proper(&ledger.refused(call, "it is not declared").await?, &described)?;
        }
    }
    let mut queries = Vec::new();
    if !ledger.store.capabilities.tags {
        queries.push(Query::from(
            QueryItem::new(stream.clone()).with_tags(ledger.store.tags(&["tag"])),
        ));
    }
    if ledger.store.capabilities.order < Order::Log {
        queries.push(Query::all());
    }
    for query in queries {
        match ledger.store.try_read(query.clone(), ReadOptions::default()).await? {
            Err(error) => proper(&error, &format!("the read of {query}"))?,
            Ok(_) => return Err(Failure::new(format!("the read of {query} was not refused"))),
        }
    }
    let case = Judged::new(ledger.as_it_is(&stream), true);
    ledger.judge(&stream, &case, Form::Append(1)).await.map(drop)
}
