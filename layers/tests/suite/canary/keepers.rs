//! All that keeps copies of what events say of birds: a view, parked events, effects, snapshots.

use std::num::NonZeroU64;
use std::sync::Arc;

use annals::{BoxError, EventStore, StoredEvent};
use annals_domain::{Aggregate, Application, Event, Repository, SnapshotPolicy, StateSnapshots};
use annals_layers::{Erasure, Personal, Subject};
use annals_processing::{
    Claim, Decision, EffectSweep, Effects, Processor, Reaction, SystemTimer, View, ViewSweep,
    async_trait,
};
use annals_state::{By, Collection, DocumentId, Documents, StateStore, Sweep};
use serde::{Deserialize, Serialize};

use crate::birds::{Seen, birds};

/// How many birds a document of the view has: few enough for a database to keep its text as it is.
const TOGETHER: usize = 20;

/// The birds that were seen near each other, in the order in which they were seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Flock {
    first: String,
    birds: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Flocks;

impl View for Flocks {
    type State = Flock;

    fn ids(&self, event: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        if event.stream.category.as_str() != "birds" {
            return Ok(Vec::new());
        }
        let seen: Seen = event.payload().to_json()?;
        let tree: usize = seen.place.trim_start_matches("tree ").parse()?;
        Ok(vec![DocumentId::new(format!("f-{}", tree / TOGETHER))?])
    }

    fn apply(
        &self,
        _: &DocumentId,
        flock: &mut Option<Flock>,
        event: &StoredEvent,
    ) -> Result<(), BoxError> {
        let seen: Seen = event.payload().to_json()?;
        let subject = seen.name.subject().as_str();
        if *event.name() == "sick" {
            return Err(format!("{subject} called {:?} cannot fly", seen.name.value()).into());
        }
        if let Some(name) = seen.name.value() {
            let new = || Flock { first: name.clone(), birds: Vec::new() };
            flock.get_or_insert_with(new).birds.push((subject.to_owned(), name.clone()));
        }
        Ok(())
    }
}

/// Rings birds, and keeps a receipt of each ring.
struct Ringer;

#[async_trait]
impl Reaction for Ringer {
    async fn handle(&self, event: &StoredEvent, effects: &Effects<'_>) -> Result<(), BoxError> {
        if *event.name() != "ringed" {
            return Ok(());
        }
        let seen: Seen = event.payload().to_json()?;
        let (subject, name) = (seen.name.subject().as_str(), seen.name.value());
        let act = |key| async move { Ok(format!("{subject}: {name:?} has ring {key}")) };
        effects.once("ring", act).await.map(|_: String| ())
    }
}

/// What happens in a nest.
#[derive(Event, Debug, Clone, PartialEq)]
pub(crate) enum NestEvent {
    #[event(name = "nest-built")]
    Built { by: Personal<String> },
}

/// A nest, which is built again and again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Nest {
    builders: Vec<String>,
}

impl Aggregate for Nest {
    const CATEGORY: &'static str = "nests";
    type Id = String;
    type Event = NestEvent;

    fn apply(&mut self, event: NestEvent) {
        let NestEvent::Built { by } = event;
        self.builders.extend(by.into_value());
    }
}

/// All of them over one log and one state store.
pub(crate) struct Keepers {
    store: EventStore,
    state: Arc<dyn StateStore>,
    snapshots: StateSnapshots<Arc<dyn StateStore>>,
}

/// The collections in which they keep copies.
pub(crate) const COLLECTIONS: [&str; 5] =
    ["birds", "flocks", "annals.parked", "annals.effects", "annals.snapshots"];

impl Keepers {
    pub(crate) fn new(store: EventStore, state: Arc<dyn StateStore>) -> Self {
        let snapshots = StateSnapshots::new(Arc::clone(&state))
            .with_subjects(|snapshot, subject| snapshot.id.starts_with(&format!("{subject}-")));
        Self { store, state, snapshots }
    }

    fn flocks(&self) -> Result<Documents<Flock>, BoxError> {
        let first = [By::ascending("first")?];
        let flocks = Collection::<Flock>::new("flocks")?.with_index("by_first", first)?;
        Ok(flocks.on(Arc::clone(&self.state)))
    }

    /// Applies what there is to the view and to the effects.
    pub(crate) async fn settle(&self) -> Result<(), BoxError> {
        let (store, state) = (&self.store, Arc::clone(&self.state));
        let timer = SystemTimer::new();
        let view = Processor::view("flocks", store, self.flocks()?, Flocks, timer)?;
        view.with_errors(|_| Decision::Park).with_max_parked(1_000).settle().await?;
        Processor::reaction("ringer", store, state, Ringer, timer)?.settle().await?;
        Ok(())
    }

    /// Builds so many nests of each subject, each twice.
    pub(crate) async fn build(
        &self,
        subjects: [(&Subject, &str); 2],
        count: usize,
    ) -> Result<(), BoxError> {
        let every = SnapshotPolicy::every(NonZeroU64::MIN);
        let nests: Repository<Nest> = Application::new("Birds", self.store.clone())
            .repository()
            .snapshots(Arc::new(self.snapshots.clone()), every);
        for nth in 0..count {
            for (subject, kind) in subjects {
                let id = format!("{}-{nth}", subject.as_str());
                let by = Personal::new(subject.clone(), format!("{kind}-{nth}"));
                let built = NestEvent::Built { by };
                nests.create(&id, || built.clone()).await?;
                nests.execute(&id, |_| built.clone()).await?;
            }
        }
        Ok(())
    }

    /// How a subject is forgotten by all of them.
    pub(crate) fn forgotten_by(&self, erasure: Erasure) -> Result<Erasure, BoxError> {
        let flocks = ViewSweep::new(
            &self.store,
            Flocks,
            self.flocks()?,
            Claim::new("flocks")?,
            SystemTimer::new(),
            |subject, flock| flock.value.birds.iter().any(|(of, _)| of == subject),
        );
        let rings = EffectSweep::new(Arc::clone(&self.state), |subject, receipt: &mut String| {
            let concerns = receipt.starts_with(&format!("{subject}:"));
            if concerns {
                "a ring".clone_into(receipt);
            }
            concerns
        });
        Ok(erasure
            .with_sweep("birds", Arc::new(birds(&self.state)))
            .with_sweep("flocks and parked events", Arc::new(flocks) as Arc<dyn Sweep>)
            .with_sweep("effects", Arc::new(rings))
            .with_sweep("snapshots", Arc::new(self.snapshots.clone())))
    }
}
