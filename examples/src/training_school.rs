//! Dogs that learn tricks: ids that follow from names, and an application that is made anew from its environment. Each
//! step is asserted.

use annals::adapter::StorageAdapter;
use annals::{BoxError, EventStore, SequenceNumber};
use annals_domain::{
    Adapters, Aggregate, Application, Env, Error, Event, ExecuteError, Repository,
};
use std::sync::Arc;
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

/// Plays the story on an empty store, and passes what happens to `say`.
///
/// # Errors
/// Those of the store.
///
/// # Panics
/// If the store does not do what a step of the story expects.
///
/// # Cancel safety
/// Dropped, the story ends after one of its appends.
pub async fn story(store: &EventStore, say: Say<'_>) -> Result<(), BoxError> {
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
    Ok(())
}
