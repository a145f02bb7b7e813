//! The story of a profile: append under conditions, read, project, and be rejected. Each step is asserted, on whatever
//! store it runs.

use annals::{
    BoxError, Error, EventCategory, EventLog, EventStore, EventStream, Handlers, Metadata,
    NewEvent, Position, ReadOptions, SequenceNumber, Source, StoredEvent, StreamId, WriteCondition,
};
use serde_json::{Value, json};

type Done = Result<(), BoxError>;

/// One handler for each event name: an event says what to put into the profile.
fn profiles() -> Handlers<Value> {
    Handlers::new("profile", json!({}))
        .on("profile-created", |profile, event| {
            let created: Value = event.payload().to_json()?;
            set(profile, &created, "name");
            set(profile, &created, "email");
            Ok(())
        })
        .on("date-of-birth-set", |profile, event| {
            set(profile, &event.payload().to_json()?, "dob");
            Ok(())
        })
}

/// Takes one field of what an event says into the profile.
fn set(profile: &mut Value, said: &Value, field: &str) {
    if let (Some(profile), Some(value)) = (profile.as_object_mut(), said.get(field)) {
        profile.insert(field.to_owned(), value.clone());
    }
}

/// Plays the story on `store`, and passes what happens to `say`, line by line. The store may hold other events, and
/// others may append to it meanwhile.
///
/// # Errors
/// The store's own, and one if the stream `profiles/joe.bloggs` is not empty: the story was played there before.
///
/// # Panics
/// If the store does not do what a step of the story expects.
///
/// # Cancel safety
/// Dropped, the story ends after one of its appends.
pub async fn story(store: &EventStore, mut say: impl FnMut(String)) -> Done {
    let stream = store.stream(StreamId::new("profiles", "joe.bloggs")?);
    if let Some(last) = stream.latest().await? {
        return Err(
            format!("the story begins with an empty stream, and the store has {last}").into()
        );
    }
    assert_eq!(stream.read(ReadOptions::default()).into_vec().await?, []);
    say(format!("stream {} is empty", stream.id()));
    // What the store holds before the story.
    let start = store.log().latest().await?.map_or(SequenceNumber::START, |e| e.sequence_number);

    let [first, second] = two_events(&stream, &mut say).await?;

    let profile = stream.project(&profiles()).await?;
    let expected =
        json!({ "name": "Joe Bloggs", "email": "joe.bloggs@example.com", "dob": "1992-07-10" });
    assert_eq!(profile.state, expected);
    assert_eq!((profile.id.as_str(), profile.name.as_str()), ("joe.bloggs", "profile"));
    assert_eq!(profile.source, Source::Stream(stream.id().clone()));
    say(format!("projected {} {} from {}", profile.name, profile.id, profile.source));

    stale(&stream, &mut say).await?;
    let third = unhandled(&stream, &expected, &mut say).await?;
    let places = Places {
        log: store.log(),
        category: store.category(stream.id().category.clone()),
        stream,
        start,
    };
    places.hold(&[first, second, third], &mut say).await?;

    say(serde_json::to_string_pretty(&profile.state)?);
    Ok(())
}

/// The first two events, each appended where the writer believes the stream to be, and read back.
async fn two_events(
    stream: &EventStream,
    say: &mut impl FnMut(String),
) -> Result<[StoredEvent; 2], BoxError> {
    let created = json!({ "name": "Joe Bloggs", "email": "joe.bloggs@example.com" });
    let created = NewEvent::json("profile-created", &created)?;
    let first = only(&stream.append([created], WriteCondition::StreamIsEmpty).await?)?;
    assert_eq!(first.position, Position::FIRST);
    say(format!("appended {first}"));

    let set = NewEvent::json("date-of-birth-set", &json!({ "dob": "1992-07-10" }))?
        .with_metadata(Metadata::json(&json!({ "actor": "user-123" }))?);
    let second = only(&stream.append([set], WriteCondition::PositionIs(first.position)).await?)?;
    say(format!("appended {second}"));

    let read = stream.read(ReadOptions::default()).into_vec().await?;
    let [one, two] = read.as_slice() else {
        return Err(format!("two events were appended, and {} are read", read.len()).into());
    };
    assert_eq!((one, two), (&first, &second), "a read returns what the append returned");
    assert_eq!(one.metadata(), None);
    assert_eq!(two.position, Position::new(1));
    assert!(two.sequence_number > one.sequence_number);
    let metadata = two.metadata().map(Metadata::to_json::<Value>).transpose()?;
    assert_eq!(metadata, Some(json!({ "actor": "user-123" })));
    say(format!("read back both, the second with metadata {}", json!(metadata)));
    Ok([first, second])
}

/// A decision made on what is no longer true is rejected, and the error says what is.
async fn stale(stream: &EventStream, say: &mut impl FnMut(String)) -> Done {
    for condition in [WriteCondition::StreamIsEmpty, WriteCondition::PositionIs(Position::FIRST)] {
        let late = NewEvent::json("profile-created", &json!({ "name": "Somebody Else" }))?;
        let error = match stream.append([late], condition.clone()).await {
            Ok(stored) => return Err(format!("stored {stored:?} though {condition:?}").into()),
            Err(error) => error,
        };
        say(format!("rejected: {error}"));
        let Error::ConditionFailed(unmet) = error else { return Err(error.into()) };
        assert_eq!(unmet.stream, *stream.id());
        assert_eq!(unmet.failed, condition);
        assert_eq!(unmet.actual, Some(Position::new(1)));
    }
    assert_eq!(stream.read(ReadOptions::default()).into_vec().await?.len(), 2);
    Ok(())
}

/// An event that the projection does not know is an error, unless it says that such events are skipped.
async fn unhandled(
    stream: &EventStream,
    expected: &Value,
    say: &mut impl FnMut(String),
) -> Result<StoredEvent, BoxError> {
    let note = NewEvent::json("note-added", &json!({ "text": "likes tea" }))?;
    let condition = WriteCondition::PositionIs(Position::new(1));
    let note = only(&stream.append([note], condition).await?)?;
    assert_eq!(note.position, Position::new(2));
    let error = match stream.project(&profiles()).await {
        Ok(profile) => return Err(format!("projected to {}", profile.state).into()),
        Err(error) => error,
    };
    say(format!("rejected: {error}"));
    let Error::Projection(stopped) = error else { return Err(error.into()) };
    assert_eq!(stopped.projection, "profile");
    assert_eq!(stopped.event, note.event.name);
    assert_eq!(stopped.stream, note.stream);
    assert_eq!((stopped.position, stopped.sequence_number), (note.position, note.sequence_number));
    assert_eq!(stopped.source.to_string(), "no handler for event note-added");

    let profile = stream.project(&profiles().ignore_missing()).await?;
    assert_eq!(profile.state, *expected);
    say("with unknown events ignored the profile is the same".to_owned());
    Ok(note)
}

/// Where the events of the story are found.
struct Places {
    log: EventLog,
    category: EventCategory,
    stream: EventStream,
    /// The last number before the story.
    start: SequenceNumber,
}

impl Places {
    /// The log and the category hold the same three events as the stream, also after the first of them.
    async fn hold(&self, events: &[StoredEvent; 3], say: &mut impl FnMut(String)) -> Done {
        let [first, rest @ ..] = events;
        for (after, expected) in
            [(self.start, events.as_slice()), (first.sequence_number, rest.as_slice())]
        {
            let options = ReadOptions::default().after(after);
            assert_eq!(self.stream.read(options).into_vec().await?, expected);
            assert_eq!(self.own(self.category.read(options).into_vec().await?), expected);
            assert_eq!(self.own(self.log.read(options).into_vec().await?), expected);
        }
        say(format!(
            "the log and category {} return the same {} events, and {} after the first",
            self.category.name(),
            events.len(),
            rest.len()
        ));
        Ok(())
    }

    /// Without those that others appended meanwhile.
    fn own(&self, mut events: Vec<StoredEvent>) -> Vec<StoredEvent> {
        events.retain(|event| event.stream == *self.stream.id());
        events
    }
}

/// The event that was stored for the one that was appended.
fn only(stored: &[StoredEvent]) -> Result<StoredEvent, BoxError> {
    match stored {
        [event] => Ok(event.clone()),
        _ => Err("one event was appended, and not one was stored".into()),
    }
}
