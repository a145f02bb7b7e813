//! Requests through the state store: how a tool that lacks the application's code operates a processor.
//!
//! A request is a document of `annals.requests`. The control task of [`Services`](crate::Services) finds it, and the
//! processor answers in its place, in the same commit as what it did.

use std::time::Duration;

use annals::EventId;
use annals_state::{
    Document, DocumentId, DocumentKey, Expected, Revision, Scan, Scanned, StateError, StateStore,
    Write,
};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};

use crate::ask::{Answer, Ask};
use crate::claim::{Claim, REQUESTS};
use crate::error::{ProcessingError, Result};
use crate::handle::Asked;
use crate::timer::Timer;
use crate::tracking::{commit, decode, get_one, put};

/// The most requests that are taken up at once.
const MAX_REQUESTS: usize = 256;

/// What is asked, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) ask: Ask,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Answer>,
}

/// Asks something of the processor with this claim, wherever it runs, and waits until it is done. The processor must be
/// one of a [`Services`](crate::Services) that keeps its state in `state`.
///
/// # Errors
/// [`Unanswered`](ProcessingError::Unanswered) if it is not done in time: the request is withdrawn unless the processor is
/// carrying it out. Those of the state store; after them it may be carried out later.
///
/// # Cancel safety
/// If it is dropped, the request may be carried out later.
pub async fn ask(
    state: &dyn StateStore,
    timer: &dyn Timer,
    claim: &Claim,
    ask: Ask,
    timeout: Duration,
) -> Result<Answer> {
    let key = claim.own(REQUESTS, EventId::generate());
    let request = Request { ask, answer: None };
    let mut revision = Some(commit(state, [put(key.clone(), &request, None)?]).await?);
    let begun = timer.elapsed();
    let mut delay = Duration::from_millis(1);
    loop {
        timer.sleep(delay).await;
        delay = (delay * 2).min(Duration::from_millis(250));
        let found = get_one::<Request>(state, key.clone()).await?;
        let Some(found) = found else {
            return Err(ProcessingError::misuse("somebody removed the request"));
        };
        revision = found.revision.or(revision);
        let waited = timer.elapsed().saturating_sub(begun);
        if found.value.answer.is_none() && waited < timeout {
            continue;
        }
        let expected = Expected::from(revision);
        match (found.value.answer, commit(state, [Write::delete(key.clone(), expected)]).await) {
            (Some(answer), _) => return Ok(answer),
            (None, Err(StateError::Conflict(_))) => {}
            (None, outcome) => {
                outcome?;
                return Err(ProcessingError::Unanswered { within: timeout });
            }
        }
    }
}

/// The write that answers a request that came through the store.
pub(crate) fn answered(asked: &Asked, answer: &Answer) -> Result<Option<Write>, StateError> {
    let Some((key, revision)) = &asked.document else { return Ok(None) };
    let request = Request { ask: asked.ask.clone(), answer: Some(answer.clone()) };
    put(key.clone(), &request, Some(*revision)).map(Some)
}

/// A request as it is stored: the claim that it is for, and the document.
pub(crate) struct Stored {
    pub(crate) claim: String,
    pub(crate) key: DocumentKey,
    pub(crate) revision: Revision,
    pub(crate) request: Request,
}

/// The requests to these claims. Of many, the first.
pub(crate) async fn of_claims(
    state: &dyn StateStore,
    is_one: impl Fn(&str) -> bool,
) -> Result<Vec<Stored>, StateError> {
    let mut pages = state.scan(Scan::along_ids(REQUESTS));
    let mut found = Vec::new();
    while let Some(page) = pages.try_next().await? {
        for Scanned { document, .. } in page {
            let Some((claim, _)) = document.key.id.as_str().rsplit_once('/') else { continue };
            if !is_one(claim) {
                continue;
            }
            // One that this program cannot read is for a newer one.
            let Ok(request) = decode::<Request>(&document) else { continue };
            let claim = claim.to_owned();
            let Document { key, revision, .. } = document;
            found.push(Stored { claim, key, revision, request });
        }
        if found.len() >= MAX_REQUESTS {
            break;
        }
    }
    Ok(found)
}

/// The requests to look at the log that somebody who waits has stored, one for each part of a processor.
#[derive(Debug, Default)]
pub(crate) struct Looks(Vec<DocumentKey>);

impl Looks {
    pub(crate) fn are_asked(&self) -> bool {
        !self.0.is_empty()
    }

    /// Asks the parts with these trackings.
    pub(crate) async fn ask(
        &mut self,
        state: &dyn StateStore,
        trackings: Vec<DocumentKey>,
    ) -> Result<(), StateError> {
        let nth = EventId::generate();
        let request = Request { ask: Ask::Look, answer: None };
        let mut writes = Vec::new();
        for tracking in trackings {
            let id = DocumentId::new(format!("{}/{nth}", tracking.id))?;
            writes.push(put(DocumentKey { collection: REQUESTS, id }, &request, None)?);
        }
        if !writes.is_empty() {
            self.0 = writes.iter().map(|write| write.key.clone()).collect();
            commit(state, writes).await?;
        }
        Ok(())
    }

    /// Takes the requests back, with their answers. Those that stay after a failure are answered, and removed then.
    pub(crate) async fn withdraw(self, state: &dyn StateStore) {
        if self.are_asked() {
            let deletes = self.0.into_iter().map(|key| Write::delete(key, Expected::Any));
            if let Err(error) = commit(state, deletes).await {
                tracing::debug!(name: "annals.not_withdrawn", %error);
            }
        }
    }
}
