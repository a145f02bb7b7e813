//! The story of a profile: append under conditions, read, project, and be refused.
//!
//! `cargo run --release --example quickstart -- [--store STORE]`

use std::process::ExitCode;

use annals::{
    Error, EventStore, Handlers, Metadata, NewEvent, Position, ReadOptions, Source, StreamId,
    WriteCondition,
};
use annals_examples::store::{self, Store};
use annals_examples::terminal;
use clap::Parser;
use serde_json::{Value, json};

/// The story of a profile: append under conditions, read, project, and be refused.
#[derive(Parser)]
struct Arguments {
    /// Where to keep the events: `memory`, the path of an SQLite file, or the URL of a PostgreSQL database, where
    /// there must be no profile of this story yet. Otherwise a file beside the program is made afresh
    #[arg(long, env = "ANNALS_STORE", hide_env_values = true)]
    store: Option<String>,
}

type Done = Result<(), annals::BoxError>;

/// One handler for each event name: an event says what to put into the profile.
fn profiles() -> Handlers<Value> {
    Handlers::new("profile", json!({}))
        .on("profile-created", |profile, event| {
            let created: Value = event.event.payload.to()?;
            set(profile, &created, "name");
            set(profile, &created, "email");
            Ok(())
        })
        .on("date-of-birth-set", |profile, event| {
            set(profile, &event.event.payload.to()?, "dob");
            Ok(())
        })
}

/// Takes one field of what an event says into the profile.
fn set(profile: &mut Value, said: &Value, field: &str) {
    if let (Some(profile), Some(value)) = (profile.as_object_mut(), said.get(field)) {
        profile.insert(field.to_owned(), value.clone());
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    terminal::end("quickstart", run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> Done {
    let name = match arguments.store {
        Some(name) => name,
        None => store::afresh(store::default_file()?)?,
    };
    let store = Store::open(&name).await?;
    story(&store.events()).await?;
    store.close().await;
    println!("store: {}", store::shown(&name));
    Ok(())
}

async fn story(store: &EventStore) -> Done {
    let stream = store.stream(StreamId::new("profiles", "joe.bloggs")?);
    if let Some(last) = stream.latest().await? {
        return Err(
            format!("the story begins with an empty stream, and the store has {last}").into()
        );
    }
    assert_eq!(stream.read(ReadOptions::default()).into_vec().await?, []);
    println!("stream {} is empty", stream.id());

    let created = json!({ "name": "Joe Bloggs", "email": "joe.bloggs@example.com" });
    let created = NewEvent::json("profile-created", &created)?;
    let first = stream.append([created], WriteCondition::StreamIsEmpty).await?.remove(0);
    assert_eq!(first.position, Position::FIRST);
    println!("appended {first}");

    let set = NewEvent::json("date-of-birth-set", &json!({ "dob": "1992-07-10" }))?
        .with_metadata(Metadata::json(&json!({ "actor": "user-123" }))?);
    let second = stream.append([set], WriteCondition::PositionIs(first.position)).await?.remove(0);
    assert_eq!(second.position, Position::new(1));
    assert!(second.sequence_number > first.sequence_number);
    let actor = second.event.metadata.as_ref().map(Metadata::to::<Value>).transpose()?;
    assert_eq!(actor, Some(json!({ "actor": "user-123" })));
    println!("appended {second}, metadata {}", json!(actor));

    let profile = stream.project(&profiles()).await?;
    let expected =
        json!({ "name": "Joe Bloggs", "email": "joe.bloggs@example.com", "dob": "1992-07-10" });
    assert_eq!(profile.state, expected);
    assert_eq!((profile.id.as_str(), profile.name.as_str()), ("joe.bloggs", "profile"));
    assert_eq!(profile.source, Source::Stream(stream.id().clone()));
    println!("projected {} {} from {}", profile.name, profile.id, profile.source);

    refused(&stream).await?;
    same_everywhere(store, &stream).await?;
    unhandled(&stream, &expected).await?;

    println!("{}", serde_json::to_string_pretty(&profile.state)?);
    Ok(())
}

/// A decision made on what is no longer true is refused, and says so.
async fn refused(stream: &annals::EventStream) -> Done {
    let late = || NewEvent::json("profile-created", &json!({ "name": "Somebody Else" }));
    for (stale, message) in [
        (
            WriteCondition::StreamIsEmpty,
            "stream profiles/joe.bloggs is at position 1, expected an empty stream",
        ),
        (
            WriteCondition::PositionIs(Position::FIRST),
            "stream profiles/joe.bloggs is at position 1, expected 0",
        ),
    ] {
        let Err(error) = stream.append([late()?], stale).await else {
            return Err("a stale append was let pass".into());
        };
        assert!(matches!(error, Error::ConditionFailed(_)));
        assert_eq!(error.to_string(), message);
        println!("refused: {error}");
    }
    assert_eq!(stream.read(ReadOptions::default()).into_vec().await?.len(), 2);
    Ok(())
}

/// The log and the category hold the same events as their only stream.
async fn same_everywhere(store: &EventStore, stream: &annals::EventStream) -> Done {
    let all = ReadOptions::default();
    let events = stream.read(all).into_vec().await?;
    let category = store.category(stream.id().category.clone());
    assert_eq!(store.log().read(all).into_vec().await?, events);
    assert_eq!(category.read(all).into_vec().await?, events);
    println!("the log and category {} give the same {} events", category.name(), events.len());
    Ok(())
}

/// An event that the projection does not know is an error, unless it says that such events are skipped.
async fn unhandled(stream: &annals::EventStream, expected: &Value) -> Done {
    let note = NewEvent::json("note-added", &json!({ "text": "likes tea" }))?;
    stream.append([note], WriteCondition::PositionIs(Position::new(1))).await?;
    let Err(error) = stream.project(&profiles()).await else {
        return Err("an unknown event was projected".into());
    };
    assert!(error.to_string().ends_with("profiles/joe.bloggs@2 note-added"), "{error}");
    println!("refused: {error}");
    let profile = stream.project(&profiles().ignore_missing()).await?;
    assert_eq!(profile.state, *expected);
    let first = stream.read(ReadOptions::default().limit(1)).into_vec().await?.remove(0);
    let rest = stream.read(ReadOptions::default().after(first.sequence_number)).into_vec().await?;
    assert_eq!(rest.len(), 2);
    println!("with unknown events ignored the profile is the same");
    Ok(())
}
