//! Appends that were sent, and what their callers get after the commit.

use annals::{Error, EventId, Result};
use annals_sql::Numbered;
use annals_sql::placing::Placement;
use annals_sql::plan::Plan;
use hashbrown::HashMap;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::append::backend::Backend;
use crate::error::{Failure, NAME, Outcome};
use crate::lookup::known::Known;

/// Appends that were sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What callers get once it is committed.
    pub(crate) outcomes: Vec<Result<Placement>>,
    /// The first and the last event to insert; `None`: nothing is.
    pub(crate) ends: Option<[Numbered; 2]>,
    /// The process that has it.
    pub(crate) backend: Option<Backend>,
    unsure: Vec<(usize, Vec<EventId>)>,
    names: HashMap<Box<str>, Option<i64>>,
    /// Of which memory of the writer the names are.
    generation: u64,
}

impl Sent {
    /// Takes from `plan`, which was judged on `known`, what is needed after the commit.
    pub(crate) fn new<D>(plan: Plan<'_, D>, known: &Known, backend: Option<Backend>) -> Self {
        let Plan { outcomes, ends, unsure, facts, .. } = plan;
        let generation = known.log.generation();
        Self { outcomes, ends, backend, unsure, names: facts.names, generation }
    }

    /// The ids of appends that were refused without knowing whether the log has them.
    pub(crate) fn unsure_ids(&self) -> Vec<Uuid> {
        self.unsure.iter().flat_map(|(_, ids)| ids).map(EventId::as_uuid).collect()
    }

    /// After the commit: what callers get. `found`: ids of refused appends that the log has.
    pub(crate) fn finish(
        &mut self,
        found: &[Row],
        known: &mut Known,
    ) -> Outcome<Vec<Result<Placement>>> {
        for row in found {
            let id = EventId::from_uuid(row.try_get(0)?);
            for (nth, ids) in &self.unsure {
                let has_it = ids.contains(&id);
                if let Some(outcome) = self.outcomes.get_mut(*nth).filter(|_| has_it) {
                    // A repeated append is reported as one, whatever its condition.
                    *outcome = Err(Error::DuplicateEvent(id));
                }
            }
        }
        known.log.learn_names(self.generation, std::mem::take(&mut self.names));
        Ok(std::mem::take(&mut self.outcomes))
    }

    /// What callers get after it turned out that it was committed.
    pub(crate) fn take_outcomes(&mut self, failure: Failure) -> Vec<Result<Placement>> {
        let fault = failure.into_fault();
        for (nth, _) in &self.unsure {
            if let Some(outcome) = self.outcomes.get_mut(*nth) {
                *outcome = Err(fault.error(NAME));
            }
        }
        std::mem::take(&mut self.outcomes)
    }
}
