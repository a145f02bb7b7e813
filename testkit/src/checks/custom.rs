//! Conditions that callers write themselves.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use annals::{Append, Predicate, StoredEvent, StreamId, WriteCondition};
use futures_util::future::join;

use crate::checks::support::judged_conditions::{Form, Judged};
use crate::checks::support::ledger::{Ledger, always, light, most, patient};
use crate::checks::support::predicates::Panics;
use crate::checks::support::unmet_conditions::unmet;
use crate::engine::{Failure, Outcome, ensure, ensure_eq};
use crate::storage::{Check, Feature, Need, check};
use crate::subject::{Context, events, within};

const CUSTOM: Need = Need::Has(Feature::CustomConditions);

pub(super) const CHECKS: &[Check] = &[
    check!(
        "cond.custom",
        [A4],
        Required,
        [CUSTOM],
        given_last,
        "a predicate is given the last event of its stream, or none, and decides"
    ),
    check!(
        "cond.custom_panic",
        [A6],
        Required,
        [CUSTOM],
        panics,
        "a predicate that panics stores nothing, and harms no append beside it or after it"
    ),
];

/// Answers as told, and remembers what it was given.
#[derive(Debug)]
struct Probe {
    answer: bool,
    given: Mutex<Vec<Option<StoredEvent>>>,
}

impl Probe {
    fn answering(answer: bool) -> Arc<Self> {
        Arc::new(Self { answer, given: Mutex::default() })
    }

    fn condition(self: &Arc<Self>) -> WriteCondition {
        WriteCondition::Custom(Arc::clone(self) as Arc<dyn Predicate>)
    }

    /// It was asked, each time about the last event of `stream`.
    fn was_given_last(
        &self,
        ledger: &Ledger,
        stream: &StreamId,
        last: Option<&StoredEvent>,
    ) -> Outcome {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(!given.is_empty(), "the predicate on stream {stream} was not asked");
        for given in given.iter() {
            let what = format!("what the predicate on stream {stream} was given");
            ledger.store.same(
                given.as_slice(),
                last.map_or(&[][..], std::slice::from_ref),
                &what,
            )?;
        }
        Ok(())
    }
}

impl Predicate for Probe {
    fn expectation(&self) -> String {
        "what the probe wants".to_owned()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).push(last.cloned());
        self.answer
    }
}

/// Decides by the position and name of the last event.
#[derive(Debug)]
pub(super) struct LastIs(pub(super) Option<StoredEvent>);

impl Predicate for LastIs {
    fn expectation(&self) -> String {
        format!("{:?} as the last event", self.0.as_ref().map(|last| last.event.id))
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        last.map(|last| last.event.id) == self.0.as_ref().map(|last| last.event.id)
    }
}

async fn given_last(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let room = most(&ledger.store);
    let [a, b] = ["a", "b"].map(|name| ledger.store.stream("orders", name));
    let other = ledger.store.stream("users", "a");
    // Empty, short, after a batch, and longer than a page; each with younger events elsewhere.
    for (round, count) in [0, 1, 1, 3, 1_030].into_iter().enumerate() {
        ledger.one(&a, light(count.min(room)), WriteCondition::Always).await?;
        let fresh = ledger.store.stream("orders", &format!("fresh-{round}"));
        for stream in [&b, &other] {
            ledger.one(stream, events(1), WriteCondition::Always).await?;
        }
        for stream in [&a, &fresh] {
            for form in Form::all(&ledger.store) {
                for answer in [false, true] {
                    let last = ledger.stream(stream).last().cloned();
                    let probe = Probe::answering(answer);
                    let case = Judged::new(probe.condition(), answer);
                    ledger.judge(stream, &case, form).await?;
                    probe.was_given_last(&ledger, stream, last.as_ref())?;
                }
            }
            composed(&mut ledger, stream, &b).await?;
        }
        ledger = ledger.through(cx.open().await?);
    }
    several(&mut ledger, &[a, b, other]).await?;
    ledger.verify("after conditions of the caller's own").await
}

async fn composed(ledger: &mut Ledger, stream: &StreamId, another: &StreamId) -> Outcome {
    for form in Form::all(&ledger.store) {
        for nth in 0..8 {
            let custom = |of: &StreamId, holds| {
                let last = ledger.stream(of).last().cloned();
                Judged::new(WriteCondition::custom(LastIs(last)), holds)
            };
            let (met, unmet) = (custom(stream, true), custom(another, false));
            let holds = Judged::new(ledger.as_it_is(stream), true);
            let fails = Judged::new(WriteCondition::Any(Vec::new()), false);
            let case = match nth {
                0 => Judged::all([met, holds]),
                1 => Judged::all([holds, unmet]),
                2 => Judged::all([unmet, met]),
                3 => Judged::any([fails, met]),
                4 => Judged::any([unmet, fails]),
                5 => Judged::any([unmet, met]),
                6 => Judged::all([holds, Judged::any([fails, unmet])]),
                _ => Judged::any([Judged::all([holds, met]), fails]),
            };
            ledger.judge(stream, &case, form).await?;
        }
    }
    let probe = Probe::answering(false);
    let condition = probe.condition();
    let write = Append::new(stream.clone(), light(1), ledger.as_it_is(stream) & condition.clone());
    let found = unmet(ledger, vec![write]).await?;
    ensure_eq!(found.failed, condition, "the leaf that the refusal names");
    Ok(())
}

/// In a call over several streams each predicate is given the last event of its own.
async fn several(ledger: &mut Ledger, streams: &[StreamId; 3]) -> Outcome {
    if !ledger.store.capabilities.multi_stream_append || most(&ledger.store) < 3 {
        return Ok(());
    }
    for bad in 0..4 {
        for start in 0..3 {
            let lasts = streams.each_ref().map(|stream| ledger.stream(stream).last().cloned());
            let probes = [0, 1, 2].map(|nth| Probe::answering(nth != bad));
            let write =
                |nth: usize| Append::new(streams[nth].clone(), light(1), probes[nth].condition());
            let mut call = [0, 1, 2].map(write).to_vec();
            call.rotate_left(start);
            if bad < 3 {
                let found = unmet(ledger, call).await?;
                ensure_eq!(found.stream, streams[bad], "the stream that the refusal names");
                probes[bad].was_given_last(ledger, &streams[bad], lasts[bad].as_ref())?;
            } else {
                ledger.append(call).await?;
                for nth in 0..3 {
                    probes[nth].was_given_last(ledger, &streams[nth], lasts[nth].as_ref())?;
                }
            }
        }
    }
    Ok(())
}

async fn panics(cx: Context) -> Outcome {
    let mut ledger = Ledger::open(&cx).await?;
    let limit = Duration::from_secs(5);
    let [a, fresh] = ["a", "fresh"].map(|name| ledger.store.stream("orders", name));
    ledger.one(&a, events(1), WriteCondition::Always).await?;
    let panics = || WriteCondition::custom(Panics);
    for round in 0..12 {
        for stream in [&a, &fresh] {
            let condition =
                if round % 2 == 0 { panics() } else { ledger.as_it_is(stream) & panics() };
            let write = Append::new(stream.clone(), light(most(&ledger.store).min(3)), condition);
            let mut call = vec![write];
            if ledger.store.capabilities.multi_stream_append && round % 3 == 2 {
                call.insert(0, always(&ledger.store.stream("users", "u"), Vec::new()));
            }
            let store = ledger.store.clone();
            let beside = vec![always(&store.stream("users", "beside"), light(1))];
            let own = beside.clone();
            // In one task, so that they take turns.
            let both = tokio::spawn(async move {
                let mut work = store.adapter.append(call);
                let panics = poll_fn(|cx| {
                    let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
                    polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
                });
                join(panics, patient(&store, &own)).await
            });
            let what = "an append whose predicate panics";
            let both = within(limit, what, both).await?;
            let (panicked, neighbour) = both.map_err(|error| Failure::new(error.to_string()))?;
            // The panic may come through or be told as an error.
            if let Some(Ok(stored)) = panicked {
                return Err(Failure::new(format!("{what} was done: {} events", stored.len())));
            }
            let stored = neighbour
                .map_err(|error| Failure::from(error).in_context(format!("beside {what}")))?;
            ledger.record(&beside, &stored)?;
        }
        let append = ledger.one(&a, events(1), ledger.as_it_is(&a));
        within(limit, "an append after a predicate panicked", append).await??;
        if round % 4 == 3 {
            let unused = [&fresh];
            let seen = ledger.verify_with(&unused, "after a predicate panicked");
            within(limit, "reads after a predicate panicked", seen).await??;
            ledger = ledger.through(cx.open().await?);
        }
    }
    ledger.one(&fresh, events(1), WriteCondition::StreamIsEmpty).await?;
    ledger.verify("after predicates that panicked").await?;
    ledger.verify_no_hole("after predicates that panicked").await
}
