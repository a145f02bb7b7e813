//! Projections: folding in parts is folding at once, and a refused event leaves the projection before it.

use std::borrow::Cow;

use annals::{
    BoxError, Error, EventPages, EventSource, Handlers, Page, Projection, Projector, ReadOptions,
    Result, SequenceNumber, Source, StoredEvent,
};
use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;

use crate::strategies::{NAMES, STREAMS, log};

/// Remembers every event, so that none can be missed, doubled or moved unseen. Refuses one on request.
#[derive(Debug, Default)]
struct JournalProjector {
    refuses: Option<SequenceNumber>,
}

impl Projector for JournalProjector {
    type State = Vec<(u64, String)>;

    fn initial(&self) -> Self::State {
        Vec::new()
    }

    fn apply(&self, state: &mut Self::State, event: &StoredEvent) -> Result<(), BoxError> {
        if self.refuses == Some(event.sequence_number) {
            return Err("refused".into());
        }
        state.push((event.sequence_number.value(), event.event.name.to_string()));
        Ok(())
    }
}

type Journal = Projection<Vec<(u64, String)>>;

/// Pages to fold, whatever was asked for, and perhaps an error after them.
struct Script {
    pages: Vec<Page>,
    fails: bool,
}

impl EventSource for Script {
    fn source(&self) -> Source {
        Source::Log
    }

    fn pages(&self, _: ReadOptions) -> EventPages {
        let failure = self.fails.then(|| Err(Error::unavailable("gone")));
        let pages: Vec<_> = self.pages.iter().cloned().map(Ok).chain(failure).collect();
        stream::iter(pages).boxed()
    }
}

fn pages(events: &[StoredEvent], size: usize) -> Script {
    let page = |events: &[StoredEvent]| {
        let last = events.last().map_or(SequenceNumber::START, |last| last.sequence_number);
        Page::new(events.to_vec(), last)
    };
    Script { pages: events.chunks(size).map(page).collect(), fails: false }
}

fn fold(projection: &mut Journal, projector: &JournalProjector, pages: &Script) -> Result<()> {
    let options = ReadOptions::default();
    projection.fold(projector, pages, options).now_or_never().expect("no page waits")
}

fn folded(events: &[StoredEvent]) -> Journal {
    let projector = JournalProjector::default();
    let mut projection = Projection::new(&projector, Source::Log);
    fold(&mut projection, &projector, &pages(events, 5)).expect("refuses nothing");
    projection
}

fn expected(events: &[StoredEvent]) -> Vec<(u64, String)> {
    let entry = |event: &StoredEvent| (event.sequence_number.value(), event.event.name.to_string());
    events.iter().map(entry).collect()
}

proptest! {
    #[test]
    fn folding_in_parts_is_folding_at_once(
        log in log(), cut in any::<prop::sample::Index>(), overlap in 0usize..4, size in 1usize..6,
    ) {
        let cut = cut.index(log.len() + 1);
        let whole = folded(&log);
        prop_assert_eq!(&whole.state, &expected(&log));
        let last = log.last().map(|last| (last.position, last.sequence_number, last.recorded_at));
        prop_assert_eq!(whole.last.map(|last| (last.position, last.sequence_number, last.recorded_at)), last);

        let json = serde_json::to_string(&folded(&log[..cut])).expect("a projection is JSON");
        let mut resumed: Journal = serde_json::from_str(&json).expect("it was written so");
        let again = pages(&log[cut.saturating_sub(overlap)..], size);
        fold(&mut resumed, &JournalProjector::default(), &again).expect("refuses nothing");
        prop_assert_eq!(&resumed, &whole);

        let mut one_by_one = Projection::new(&JournalProjector::default(), Source::Log);
        for event in &log {
            one_by_one.apply(&JournalProjector::default(), event).expect("refuses nothing");
        }
        prop_assert_eq!(&one_by_one, &whole);
    }

    #[test]
    fn a_refused_event_leaves_the_projection_before_it(
        log in log(), at in any::<prop::sample::Index>(), size in 1usize..6,
    ) {
        prop_assume!(!log.is_empty());
        let at = at.index(log.len());
        let strict = JournalProjector { refuses: Some(log[at].sequence_number) };
        let mut projection = Projection::new(&strict, Source::Log);
        let stopped = fold(&mut projection, &strict, &pages(&log, size));
        let Err(Error::Projection(why)) = stopped else {
            return Err(TestCaseError::fail("it refuses one"));
        };
        prop_assert_eq!(&why.projection, "journal");
        prop_assert_eq!(why.sequence_number, log[at].sequence_number);
        prop_assert_eq!((why.position, &why.stream), (log[at].position, &log[at].stream));
        prop_assert_eq!(&why.event, &log[at].event.name);
        prop_assert_eq!(why.source.to_string(), "refused");
        prop_assert_eq!(&projection, &folded(&log[..at]));

        fold(&mut projection, &JournalProjector::default(), &pages(&log[at..], size)).expect("refuses nothing");
        prop_assert_eq!(&projection, &folded(&log));
    }

    /// A page that cannot be read loses nothing of the pages before it.
    #[test]
    fn a_failed_page_leaves_what_came_before(log in log(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(log.len() + 1);
        let torn = Script { fails: true, ..pages(&log[..cut], 3) };
        let mut projection = Projection::new(&JournalProjector::default(), Source::Log);
        let stopped = fold(&mut projection, &JournalProjector::default(), &torn);
        prop_assert!(matches!(stopped, Err(Error::Unavailable(_))));
        prop_assert_eq!(projection, folded(&log[..cut]));
    }

    /// A table is the function that picks by name.
    #[test]
    fn a_table_picks_by_exact_name(log in log()) {
        let table = Handlers::new("moves", (0, 0, 0))
            .on("opened", |state: &mut (usize, usize, usize), _| { state.0 += 1; Ok(()) })
            .on("closed", |state, _| { state.1 += 1; Ok(()) })
            .on("open", |_, event| Err(format!("{event} is not named so").into()))
            .on_missing(|state, _| { state.2 += 1; Ok(()) });
        let mut projection = Projection::new(&table, Source::Log);
        for event in &log {
            projection.apply(&table, event).expect("refuses nothing");
        }
        let named = |name: usize| log.iter().filter(|event| event.event.name == NAMES[name]).count();
        prop_assert_eq!(projection.state, (named(0), named(2), named(1)));
    }

    #[test]
    fn a_table_stops_at_the_first_event_that_it_does_not_know(log in log()) {
        let table = || Handlers::new("opened", 0).on("opened", |count: &mut usize, _| { *count += 1; Ok(()) });
        let unknown = log.iter().find(|event| event.event.name != NAMES[0]);
        let mut projection = Projection::new(&table(), Source::Log);
        let outcome = log.iter().try_for_each(|event| projection.apply(&table(), event));
        match (outcome, unknown) {
            (Ok(()), None) => prop_assert_eq!(projection.state, log.len()),
            (Err(Error::Projection(why)), Some(event)) => {
                prop_assert_eq!(why.source.to_string(), format!("no handler for event {}", event.event.name));
                let shown = format!("projection opened stopped at event {event}");
                prop_assert_eq!(why.to_string(), shown);
            }
            other => prop_assert!(false, "{other:?}"),
        }
        let mut lenient = Projection::new(&table(), Source::Log);
        for event in &log {
            lenient.apply(&table().ignore_missing(), event).expect("skips what it does not know");
        }
        let opened = log.iter().filter(|event| event.event.name == NAMES[0]).count();
        prop_assert_eq!(lenient.state, opened);
        prop_assert_eq!(lenient.sequence_number(), log.last().map_or(SequenceNumber::START, |last| last.sequence_number));
    }
}

#[test]
#[should_panic(expected = "event opened has a handler already")]
fn two_handlers_for_one_name_are_a_mistake() {
    let _ = Handlers::new("twice", ()).on("opened", |(), _| Ok(())).on("opened", |(), _| Ok(()));
}

#[test]
#[should_panic(expected = "not a valid name")]
fn a_handler_for_a_name_that_no_event_has_is_a_mistake() {
    let _ = Handlers::new("never", ()).on("", |(), _| Ok(()));
}

#[test]
fn a_table_shows_its_names() {
    let table = Handlers::new("table", ()).on("b", |(), _| Ok(())).on("a", |(), _| Ok(()));
    assert_eq!(format!("{table:?}"), r#"Handlers { name: "table", on: ["a", "b"], .. }"#);
}

struct HTTPCallsProjector;
struct Projector2<T>(T);
struct Totals;

macro_rules! idle {
    ($($projector:ty),*) => {$(
        impl Projector for $projector {
            type State = ();

            fn initial(&self) {}

            fn apply(&self, (): &mut (), _: &StoredEvent) -> Result<(), BoxError> {
                Ok(())
            }
        }
    )*};
}

idle!(HTTPCallsProjector, Projector2<Vec<String>>, Totals);

#[test]
fn a_projection_is_named_after_its_projector() {
    assert_eq!(JournalProjector::default().name(), "journal");
    assert_eq!(HTTPCallsProjector.name(), "http-calls");
    assert_eq!(Projector2(vec![String::new()]).name(), "projector2");
    assert_eq!(Totals.name(), "totals");
}

#[test]
fn a_projection_is_told_apart_by_its_source() {
    let id = |source| Projection::new(&Totals, source).id;
    assert_eq!(id(Source::Log), "log");
    assert_eq!(id(STREAMS[3].category.clone().into()), "a.b");
    assert_eq!(id(STREAMS[3].clone().into()), "c");
}

/// Named and told apart by what it has seen.
struct LastName;

impl Projector for LastName {
    type State = String;

    fn initial(&self) -> String {
        "none".to_owned()
    }

    fn apply(&self, state: &mut String, event: &StoredEvent) -> Result<(), BoxError> {
        event.event.name.as_str().clone_into(state);
        Ok(())
    }

    fn name(&self) -> Cow<'_, str> {
        "last-name".into()
    }

    fn id(&self, state: &String, source: &Source) -> String {
        format!("{state} of {source}")
    }
}

proptest! {
    #[test]
    fn an_id_of_the_projectors_own_follows_the_state(log in log(), size in 1usize..6) {
        let mut projection = Projection::new(&LastName, Source::Log);
        prop_assert_eq!(&projection.id, "none of the log");
        projection.fold(&LastName, &pages(&log, size), ReadOptions::default()).now_or_never().expect("no page waits").expect("refuses nothing");
        let last = log.last().map_or("none", |event| event.event.name.as_str());
        prop_assert_eq!(&projection.id, &format!("{last} of the log"));
        prop_assert_eq!(&projection.name, "last-name");
    }
}
