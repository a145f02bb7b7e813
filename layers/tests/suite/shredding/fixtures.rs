//! What every version stored.

use annals::{Encoding, NewEvent, Payload};
use annals_state::{DocumentKey, Expected, StateStore, Write};

use super::{EARTH, Outcome, Store, all_documents, tampered, text};

/// What version 1 stored: a sealed value, and the document of its key.
const FIXTURES: &str = include_str!("../../fixtures/personal.txt");
fn fixed() -> NewEvent {
    let id = "018f4d6e-0000-7000-8000-00000000002a".parse().unwrap();
    let at = time::macros::datetime!(2024-05-06 07:08:09.101112 UTC);
    let payload = r#"{"who":{"$personal":"ada","value":"Ada"},"what":1}"#;
    let payload = Payload::json_bytes(payload).unwrap();
    NewEvent::from_parts(id, "kept".try_into().unwrap(), payload, at)
}
#[tokio::test]
async fn l23_sealed_values_of_every_version_are_read_for_ever() -> Outcome {
    let mut versions = 0;
    for line in FIXTURES.lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.split(' ');
        let [id, wrapped, payload] = [(); 3].map(|()| parts.next().unwrap());
        let body: Vec<u8> = (0..wrapped.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&wrapped[at..at + 2], 16).unwrap())
            .collect();
        let store = Store::new();
        let document = DocumentKey::new("annals.subject_keys", id)?;
        let body = Payload::from_store(Encoding::from_static("annals-subject-key"), body);
        let write = Write::put(document, body, Expected::Absent);
        store.state.commit(annals_state::Commit::new([write])).await?;
        let mut stored = fixed();
        stored.payload = Payload::json_bytes(payload.to_owned())?;
        assert_eq!(tampered(&store, EARTH, stored).await?.event, fixed());
        versions += 1;
    }
    assert_eq!(versions, 1);
    Ok(())
}
/// Makes the line of a further version: `cargo test --test suite shredding::fixtures::print_fixtures -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "makes fixtures of a new version"]
async fn print_fixtures() {
    let store = Store::new();
    store.append(fixed()).await.unwrap();
    let documents = all_documents(&*store.state).await;
    let key = documents.last().unwrap();
    let hex =
        key.body.as_bytes().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    println!("{} {hex} {}", key.key.id, text(&store.raw().await[0]));
}
