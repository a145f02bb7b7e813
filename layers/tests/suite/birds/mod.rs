//! Birds that were seen: the events of the tests of erasure, and an application's own view of them.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

use std::sync::Arc;

use annals_layers::{Personal, Signer, Subject};
use annals_state::{
    By, Collection, Documents, Expected, Filter, Find, Paging, StateStore, Sweep, Swept,
};
use serde::{Deserialize, Serialize};

/// What an event says of a bird.
#[derive(Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) name: Personal<String>,
    pub(crate) place: String,
}

/// A document of a view, made from a decrypted event.
#[derive(Serialize, Deserialize)]
pub(crate) struct Bird {
    pub(crate) subject: String,
    pub(crate) name: String,
}

/// A view of birds by name, and how it forgets a subject.
#[derive(Debug)]
pub(crate) struct Birds(pub(crate) Documents<Bird>);

pub(crate) fn birds(state: &Arc<dyn StateStore>) -> Birds {
    let by = [By::ascending("name").unwrap()];
    let of = [By::ascending("subject").unwrap()];
    let birds = Collection::<Bird>::new("birds").unwrap();
    let birds = birds.with_index("by_name", by).unwrap().with_index("by_subject", of).unwrap();
    Birds(birds.on(Arc::clone(state)))
}

#[annals::adapter::async_trait]
impl Sweep for Birds {
    async fn forget(&self, subject: &str) -> annals_state::Result<Swept> {
        let (mut removed, find) = (0, Find::default().filter(Filter::is("subject", subject)?));
        loop {
            let found = self.0.find(&find.clone().paging(Paging::First(100))).await?;
            for bird in &found.documents {
                self.0.delete(bird.id.clone(), Expected::Any).await?;
                removed += 1;
            }
            if found.next.is_none() {
                return Ok(Swept::new(removed, removed));
            }
        }
    }
}

pub(crate) fn signer() -> Signer {
    Signer::from_bytes("example.com/erasures", &[9; 32]).unwrap()
}

pub(crate) fn subject(text: &str) -> Subject {
    Subject::new(text).unwrap()
}
