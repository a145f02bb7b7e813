//! Dogs that learn tricks: ids that follow from names, an application that is made anew from its environment, and a view
//! that counts each dog and each trick once. Each step is asserted.

use std::sync::Arc;
use std::time::Duration;

use annals::adapter::StorageAdapter;
use annals::{BoxError, EventStore, ReadOptions, SequenceNumber, StoredEvent};
use annals_domain::{
    Adapters, Aggregate, Application, Env, Error, Event, ExecuteError, Repository,
};
use annals_processing::{
    Batch, EventView, ProcessingError, Processor, Services, Sink, SinkError, SystemTimer, Typed,
    ViewSink,
};
use annals_state::{
    Collection, DocumentId, DocumentKey, Documents, Expected, StateError, StateStore, Write,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::story::Say;

/// What happens to a dog.
#[derive(Event, Debug, Clone, PartialEq)]
pub enum DogEvent {
    /// It comes to the school.
    #[event(name = "dog-registered")]
    Registered {
        /// What it is called.
        name: String,
    },
    /// It learns.
    #[event(name = "trick-added")]
    TrickAdded {
        /// What.
        trick: String,
    },
}

/// A dog.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dog {
    name: String,
    tricks: Vec<String>,
}

impl Aggregate for Dog {
    const CATEGORY: &'static str = "dogs";
    type Id = Uuid;
    type Event = DogEvent;

    fn apply(&mut self, event: DogEvent) {
        match event {
            DogEvent::Registered { name } => self.name = name,
            DogEvent::TrickAdded { trick } => self.tricks.push(trick),
        }
    }
}

/// The school: dogs by name.
#[derive(Debug, Clone)]
pub struct TrainingSchool {
    dogs: Repository<Dog>,
}

impl TrainingSchool {
    /// The school on this application's store.
    #[must_use]
    pub fn new(application: &Application) -> Self {
        Self { dogs: application.repository() }
    }

    /// The id of a dog follows from its name.
    #[must_use]
    pub fn id(name: &str) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("/dogs/{name}").as_bytes())
    }

    /// Registers a dog, and returns the number of the event.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if there is a dog of this name; those of the store.
    ///
    /// # Cancel safety
    /// All or nothing is stored.
    pub async fn register(&self, name: &str) -> Result<SequenceNumber, BoxError> {
        let registered = || DogEvent::Registered { name: name.to_owned() };
        let done = self.dogs.create(&Self::id(name), registered).await?;
        Ok(done.events.last().ok_or("an event")?.sequence_number)
    }

    /// Teaches a dog, and returns the number of the event.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no dog of this name; those of the store.
    ///
    /// # Cancel safety
    /// All or nothing is stored.
    pub async fn add_trick(&self, name: &str, trick: &str) -> Result<SequenceNumber, BoxError> {
        let added = |_: &Dog| DogEvent::TrickAdded { trick: trick.to_owned() };
        let done = self.dogs.execute(&Self::id(name), added).await?;
        Ok(done.events.last().ok_or("an event")?.sequence_number)
    }

    /// A dog.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no dog of this name; those of the store.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn dog(&self, name: &str) -> Result<Dog, Error> {
        Ok(self.dogs.get(&Self::id(name)).await?.clone())
    }
}

/// How many dogs there are, and how many tricks they can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Dogs.
    pub dogs: u64,
    /// Tricks of all dogs.
    pub tricks: u64,
}

/// The view that counts, as one document.
#[derive(Debug, Clone, Copy)]
pub struct Counting;

impl EventView for Counting {
    type Event = DogEvent;
    type State = Counted;

    fn ids(&self, _: &DogEvent, _: &StoredEvent) -> Result<Vec<DocumentId>, BoxError> {
        Ok(vec![DocumentId::from_static("school")])
    }

    fn apply(
        &self,
        _: &DocumentId,
        counted: &mut Option<Counted>,
        event: DogEvent,
        _: &StoredEvent,
    ) -> Result<(), BoxError> {
        let counted = counted.get_or_insert_default();
        match event {
            DogEvent::Registered { .. } => counted.dogs += 1,
            DogEvent::TrickAdded { .. } => counted.tricks += 1,
        }
        Ok(())
    }
}

/// The documents of the view.
///
/// # Errors
/// Never: the name is one.
pub fn documents(state: Arc<dyn StateStore>) -> Result<Documents<Counted>, BoxError> {
    Ok(Collection::new("school")?.on(state))
}

/// What the view says.
///
/// # Errors
/// Those of the state store.
///
/// # Cancel safety
/// Reads only.
pub async fn counted(state: &Arc<dyn StateStore>) -> Result<Counted, BoxError> {
    let found = documents(Arc::clone(state))?.get("school").await?;
    Ok(found.map(|school| school.value).unwrap_or_default())
}

/// The processor that keeps the view. It may be killed at any moment, and begun again.
///
/// # Errors
/// Never: its name and its query make sense.
pub fn counting(store: &EventStore, state: Arc<dyn StateStore>) -> Result<Processor, BoxError> {
    let documents = documents(state)?;
    let processor =
        Processor::event_view("school", store, documents, Counting, SystemTimer::new())?;
    // That a process ends in the middle of something is no fault of an event here.
    Ok(processor.with_poison_after(u32::MAX))
}

/// Keeps the view until the process ends.
///
/// # Errors
/// Those of the stores.
///
/// # Cancel safety
/// Dropped, it leaves each event counted or not.
pub async fn keep(store: &EventStore, state: Arc<dyn StateStore>) -> Result<(), BoxError> {
    let services = Services::new(SystemTimer::new());
    Ok(services.processor(counting(store, state)?)?.run().await?)
}

/// Plays the story on an empty store with these documents, and passes what happens to `say`.
///
/// # Errors
/// Those of the store.
///
/// # Panics
/// If the store does not do what a step of the story expects.
///
/// # Cancel safety
/// Dropped, the story ends after one of its appends.
pub async fn story(
    store: &EventStore,
    state: Arc<dyn StateStore>,
    say: Say<'_>,
) -> Result<(), BoxError> {
    assert_eq!(TrainingSchool::id("Fido").to_string(), "1e1d7398-8986-57af-bb01-11a89b2f8b02");
    let adapter: Arc<dyn StorageAdapter> = Arc::clone(store.adapter());
    let adapters = Adapters::default().with("opened", move |_| {
        let adapter = Arc::clone(&adapter);
        async move { Ok(adapter) }
    });
    // The key of the application comes before the one of all.
    let env = Env::new("TrainingSchool")
        .with("PERSISTENCE", "nowhere")
        .with("TRAININGSCHOOL_PERSISTENCE", "opened");
    let open = async || Application::open("TrainingSchool", &adapters, &env).await;

    let school = TrainingSchool::new(&open().await?);
    let first = school.register("Fido").await?;
    let second = school.add_trick("Fido", "roll over").await?;
    let third = school.add_trick("Fido", "play dead").await?;
    assert!(first < second && second < third);
    let fido = school.dog("Fido").await?;
    assert_eq!(
        (fido.name.as_str(), fido.tricks.join(", ")),
        ("Fido", "roll over, play dead".to_owned())
    );
    say(format!("Fido can {}", fido.tricks.join(" and ")));

    let again = school.register("Fido").await.expect_err("there is a Fido");
    let error = again.downcast::<ExecuteError<std::convert::Infallible>>()?;
    assert!(matches!(error.failure(), Some(Error::AlreadyExists(_))));
    say(format!("failed: {error}"));
    assert!(school.dog("Rex").await.is_err_and(|error| error.is_not_found()));

    let anew = TrainingSchool::new(&open().await?);
    assert_eq!(anew.dog("Fido").await?, fido);
    say("an application that is made anew says the same".to_owned());
    view(store, &state, &anew, third, say).await
}

/// The steps with the view: it is waited for, and counts each event once.
async fn view(
    store: &EventStore,
    state: &Arc<dyn StateStore>,
    school: &TrainingSchool,
    last: SequenceNumber,
    say: Say<'_>,
) -> Result<(), BoxError> {
    let processor = counting(store, Arc::clone(state))?;
    let handle = processor.handle();
    let running = tokio::spawn(processor.run());
    let long = Duration::from_secs(30);
    handle.wait(last, long).await?;
    assert_eq!(counted(state).await?, Counted { dogs: 1, tricks: 2 });
    for (trick, tricks) in [("sit and stay", 3), ("jump hoop", 4)] {
        let added = school.add_trick("Fido", trick).await?;
        handle.wait(added, long).await?;
        assert_eq!(counted(state).await?, Counted { dogs: 1, tricks });
        say(format!("after {trick} the view counts {tricks} tricks"));
    }
    let head = store.log().latest().await?.ok_or("an event")?.sequence_number;
    let far = SequenceNumber::new(head.value() + 1_000);
    let late = handle.wait(far, Duration::from_millis(200)).await;
    let Err(ProcessingError::Timeout { wanted, reached, .. }) = late else {
        return Err("a wait for what is not there has to end".into());
    };
    assert_eq!((wanted, reached), (far, head));
    handle.stop();
    running.await??;

    // The last event once more: by a processor, and by hand, with a commit that expects what was before it.
    assert_eq!(counting(store, Arc::clone(state))?.settle().await?, head);
    let before = head.prev().ok_or("an event before it")?;
    let again = store.log().read(ReadOptions::default().after(before)).into_vec().await?;
    let tracking = DocumentKey::new("annals.tracking", "school/log/whole")?;
    let batch = Batch::of(&again, vec![Write::guard(tracking, Expected::Absent)]);
    let taken = ViewSink::new(Typed(Counting), documents(Arc::clone(state))?).take(&batch).await;
    assert!(matches!(taken, Err(SinkError::State(StateError::Conflict(_)))), "{taken:?}");
    assert_eq!(counted(state).await?, Counted { dogs: 1, tricks: 4 });
    say("an event that comes again is not counted again".to_owned());
    Ok(())
}
