//! Two batches on their way at a time: while the server commits one, the other is answered, judged and sent.
//!
//! The second is judged on the log as it is once the first is committed. Its statement looks for the last event of the
//! first, and inserts nothing without it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use annals_sql::queue::{Intake, Job};

use crate::append::flight::Flight;
use crate::append::writer::{Request, Trouble, Writer, give_back, works};

impl Writer {
    /// Commits both batches, and then what was queued meanwhile, as long as that is enough for another. Where
    /// something fails, what was sent is landed, and all that is not answered is settled without further batches on
    /// their way.
    pub(crate) async fn pipeline(&mut self, halves: [Vec<Job>; 2], intake: &mut Intake<Request>) {
        let mut waiting = VecDeque::from(halves);
        let mut under_way: VecDeque<(Vec<Job>, Flight)> = VecDeque::new();
        let mut failed = Vec::new();
        let mut held = None;
        let Ok(client) = self.pool.get().await.map(Arc::new) else {
            for jobs in waiting {
                self.settle(jobs, None, intake).await;
            }
            return;
        };
        while failed.is_empty() && held.is_none() {
            let ahead = under_way.back().map(|(_, flight)| flight);
            if under_way.len() < 2
                && ahead.is_none_or(Flight::may_be_followed)
                && let Some(jobs) = waiting.pop_front()
            {
                let works = works(&jobs);
                let departing = self.depart(&client, &works, false);
                match beside(&mut under_way, departing).await {
                    Ok(Some(flight)) => under_way.push_back((jobs, flight)),
                    several => held = Some((jobs, several.err())),
                }
                continue;
            }
            let Some((jobs, flight)) = under_way.pop_front() else { break };
            match self.land(flight, true).await {
                Ok(outcomes) => {
                    let answered = jobs.len();
                    self.answer(jobs, outcomes);
                    intake.let_return(answered);
                    if waiting.is_empty() {
                        waiting.extend(intake.take_beside());
                    }
                }
                Err(trouble) => failed.push((jobs, Some(trouble))),
            }
        }
        for (jobs, flight) in under_way {
            match self.land(flight, failed.is_empty()).await {
                Ok(outcomes) => self.answer(jobs, outcomes),
                Err(trouble) => failed.push((jobs, Some(trouble))),
            }
        }
        failed.extend(held);
        let is_lost =
            |(_, trouble): &(_, Option<_>)| trouble.as_ref().is_some_and(Trouble::lost_connection);
        give_back(client, failed.iter().any(is_lost));
        failed.extend(waiting.into_iter().map(|jobs| (jobs, None)));
        for (jobs, trouble) in failed {
            self.settle(jobs, trouble, intake).await;
        }
    }
}

/// Waits for `departing`, which asks the server on the connection of those under way.
async fn beside<T>(
    under_way: &mut VecDeque<(Vec<Job>, Flight)>,
    departing: impl Future<Output = T>,
) -> T {
    let mut departing = pin!(departing);
    poll_fn(|cx| {
        for (_, flight) in under_way.iter_mut() {
            flight.take_in(cx);
        }
        departing.as_mut().poll(cx)
    })
    .await
}
