//! A member of a club who is forgotten: in the log, in a view and in snapshots, with a signed report. Each step is asserted.

use std::num::NonZeroU64;
use std::sync::Arc;

use annals::adapter::async_trait;
use annals::{BoxError, EventStore};
use annals_domain::{Aggregate, Application, Event, Repository, SnapshotPolicy, StateSnapshots};
use annals_layers::{
    Chained, Erasure, ErasureReport, Key, KeyId, KeyRing, Personal, Shredding, Signer, StoredKeys,
    Subject, SubjectKeys,
};
use annals_memory::MemoryState;
use annals_state::{Collection, Documents, Expected, StateStore, Sweep, Swept};
use serde::{Deserialize, Serialize};
use time::Duration;

use crate::story::Say;

/// What happens to a member.
#[derive(Event, Debug, Clone, PartialEq)]
pub enum MemberEvent {
    /// Somebody joins.
    #[event(name = "member-joined")]
    Joined {
        /// What they are called.
        name: Personal<String>,
        /// In which city, which is nobody's secret.
        city: String,
    },
    /// They move house.
    #[event(name = "member-moved")]
    Moved {
        /// The new address.
        address: Personal<String>,
    },
}

/// A member.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    name: Option<String>,
    city: String,
    address: Option<String>,
}

impl Aggregate for Member {
    const CATEGORY: &'static str = "members";
    type Id = String;
    type Event = MemberEvent;

    fn apply(&mut self, event: MemberEvent) {
        match event {
            MemberEvent::Joined { name, city } => {
                (self.name, self.city) = (name.into_value(), city);
            }
            MemberEvent::Moved { address } => self.address = address.into_value(),
        }
    }
}

/// What the club looks members up in: a copy of what events say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Card {
    name: String,
}

/// The view, which knows how to forget: a card has the id of its member.
#[derive(Debug)]
struct Cards(Documents<Card>);

#[async_trait]
impl Sweep for Cards {
    async fn forget(&self, subject: &str) -> annals_state::Result<Swept> {
        let found = u64::from(self.0.get(subject).await?.is_some());
        self.0.delete(subject, Expected::Any).await?;
        Ok(Swept::new(found, found))
    }
}

/// So long that no ciphertext shows it by chance, as a word of three letters may.
const ADA: &str = "Ada Lovelace";

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
    // Keys, views and snapshots are in a state store; the master key is not.
    let state: Arc<dyn StateStore> = Arc::new(MemoryState::new());
    let master = KeyRing::new(KeyId(1), &Key::generate()?);
    let keys = Arc::new(StoredKeys::new(Arc::clone(&state), master));
    let chain = Chained::new(Arc::clone(store.adapter()))?;
    let layer = Shredding::new(chain.clone(), Arc::clone(&keys) as Arc<dyn SubjectKeys>)?;
    let club = EventStore::new(layer);
    let snapshots = StateSnapshots::new(Arc::clone(&state))
        .with_subjects(|snapshot, subject| snapshot.id == subject);
    let every = SnapshotPolicy::every(NonZeroU64::MIN);
    let members: Repository<Member> = Application::new("Club", club.clone())
        .repository()
        .snapshots(Arc::new(snapshots.clone()), every);
    let cards = Arc::new(Cards(Collection::<Card>::new("cards")?.on(Arc::clone(&state))));

    for (id, name) in [("m-1", ADA), ("m-2", "Bob Miller")] {
        let subject = Subject::new(id)?;
        let joined = MemberEvent::Joined {
            name: Personal::new(subject.clone(), name.to_owned()),
            city: "Ulm".to_owned(),
        };
        members.create(&id.to_owned(), || joined.clone()).await?;
        let address = Personal::new(subject, format!("{name}'s house"));
        members
            .execute(&id.to_owned(), |_| MemberEvent::Moved { address: address.clone() })
            .await?;
        cards.0.put(id, &Card { name: name.to_owned() }, Expected::Absent).await?;
    }
    let ada = members.get(&"m-1".to_owned()).await?;
    assert_eq!(
        (ada.name.as_deref(), ada.address.as_deref()),
        (Some(ADA), Some("Ada Lovelace's house"))
    );
    let log = store.log().read(annals::ReadOptions::default()).into_vec().await?;
    let shows = |word: &str| {
        let in_row = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(word);
        log.iter().any(|row| in_row(row.payload().as_bytes()))
    };
    assert!(!shows(ADA) && shows("Ulm"), "only what is personal is sealed");
    say("two members joined, and no name is in the log".to_owned());

    let erasure = Erasure::new(Arc::clone(&keys) as Arc<dyn SubjectKeys>)
        .with_sweep("cards", Arc::clone(&cards) as Arc<dyn Sweep>)
        .with_sweep("snapshots", Arc::new(snapshots))
        .with_remains("backups", Duration::days(30));
    let signer = Signer::generate("club.example/erasures")?;
    let note = erasure.forget(&Subject::new("m-1")?, &signer).await?;
    let report = ErasureReport::open(&note, &signer.verifier())?;
    let swept: Vec<_> = report.swept.iter().map(|by| (by.name.as_str(), by.removed > 0)).collect();
    assert_eq!(swept, [("cards", true), ("snapshots", true)]);
    for by in &report.swept {
        say(format!("{}: {} of {} removed", by.name, by.removed, by.looked_at));
    }

    let ada = members.get(&"m-1".to_owned()).await?;
    assert_eq!((&ada.name, ada.city.as_str(), &ada.address), (&None, "Ulm", &None));
    let bob = members.get(&"m-2".to_owned()).await?;
    assert_eq!(bob.name.as_deref(), Some("Bob Miller"), "nobody else is forgotten");
    assert!(cards.0.get("m-1").await?.is_none() && cards.0.get("m-2").await?.is_some());
    for id in ["m-1", "m-2"] {
        let stream = annals::StreamId::new("members", id)?;
        assert!(chain.verify(&stream, None).await?.findings.is_empty(), "no event was changed");
    }
    say(format!("{} is forgotten, and every event is still there", report.forgotten.subject));
    Ok(())
}
