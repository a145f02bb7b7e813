//! Appends on their way to the log: judged, sent as one statement, and not answered yet.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use annals_sql::facts::Work;
use annals_sql::plan::plan;
use deadpool_postgres::Object;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, MaybeDone, join, maybe_done};
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::append::backend::Backend;
use crate::append::draft::{Draft, Part};
use crate::append::insert::{insert, prepare};
use crate::append::sent::Sent;
use crate::connection::session::{Session, Value};
use crate::error::{Failure, Outcome};
use crate::lookup::facts::{Ask, Found, known_ids};
use crate::lookup::history::History;
use crate::lookup::known::Known;
use crate::store::Store;

/// What came of a statement; `None` when it was judged on another log than it found, and wrote nothing. Otherwise what
/// it inserted is committed, and ids of refused appends that the log has were found, or were not to be had.
type Landed = Outcome<Option<Outcome<Vec<Row>>>>;

/// Appends that were sent, and the answer that is to come.
pub(crate) struct Flight {
    sent: Sent,
    makes_names: bool,
    pub(crate) departed: Instant,
    answer: MaybeDone<BoxFuture<'static, Landed>>,
}

impl Flight {
    /// Whether another may be sent before it is answered: numbers of names hold only once they are committed.
    pub(crate) fn may_be_followed(&self) -> bool {
        !self.makes_names
    }

    /// Takes in what the server has answered so far. The server's answers to a connection are handed out in order and
    /// in bounded pieces: an answer that nobody takes in keeps back those of all later statements.
    pub(crate) fn take_in(&mut self, cx: &mut Context<'_>) {
        let _ = Pin::new(&mut self.answer).poll(cx);
    }

    /// Waits for the answer.
    pub(crate) async fn land(mut self, limit: Duration) -> (Sent, Landed) {
        let mut answer = Pin::new(&mut self.answer);
        let in_time = tokio::time::timeout(limit, answer.as_mut()).await;
        let answer = answer.take_output().filter(|_| in_time.is_ok());
        (self.sent, answer.unwrap_or(Err(Failure::Timeout)))
    }
}

/// What a flight starts from.
pub(crate) struct Departure<'a> {
    pub(crate) store: &'a Arc<Store>,
    pub(crate) client: &'a Arc<Object>,
    pub(crate) backend: Option<Backend>,
    pub(crate) known: &'a mut Known,
}

impl Departure<'_> {
    /// Judges `works` on what is remembered of the log, and sends one statement that takes the lock, inserts and
    /// commits. If others have appended meanwhile, the numbers that it inserts are taken, and nothing is written. It
    /// inserts only where the store has the last event that it was judged on, which may be of a flight that is not
    /// answered yet: judged on what never came to be, or is gone, it writes nothing.
    ///
    /// `None`: it takes more than one statement; nothing was sent.
    pub(crate) async fn depart(self, works: &[Work<'_>], checked: bool) -> Outcome<Option<Flight>> {
        let Self { store, client, backend, known } = self;
        let session = Session::new(client, store.options.prepares());
        let ask = Ask { head: known.log.head.is_none(), ids: checked, numbers: None };
        let Found { facts, of_store } = Found::gather(store, session, works, known, &ask).await?;
        let log = &mut known.log;
        let (head, last_name) = facts.head.unwrap_or((log.head.unwrap_or(0), log.last_name));
        let mut plan = plan::<Draft>(works, facts, head, last_name, checked);
        let mut parts = std::mem::take(&mut plan.draft).into_parts();
        let part = parts.pop();
        if !parts.is_empty() {
            return Ok(None);
        }
        let last = plan.facts.last.or(log.last).filter(|_| head > 0);
        plan.teach(log);
        known.learn_store(of_store);
        let rows = known.rows.clone().unwrap_or(Type::RECORD_ARRAY);
        if let Some(part) = &part {
            prepare(store, session, part, &rows).await?;
        }
        let judged_on = History { mark: known.mark, last };
        let makes_names = part.as_ref().is_some_and(Part::makes_names);
        let sent = Sent::new(plan, known, backend);
        let ids = sent.unsure_ids();
        let (store, client) = (Arc::clone(store), Arc::clone(client));
        let answer = answer(store, client, part, rows, judged_on, ids);
        let departed = Instant::now();
        let mut flight = Flight { sent, makes_names, departed, answer: maybe_done(answer.boxed()) };
        // It is sent at the first poll.
        poll_fn(|cx| {
            flight.take_in(cx);
            Poll::Ready(())
        })
        .await;
        Ok(Some(flight))
    }
}

async fn answer(
    store: Arc<Store>,
    client: Arc<Object>,
    part: Option<Part>,
    rows: Type,
    judged_on: History,
    ids: Vec<Uuid>,
) -> Landed {
    let session = Session::new(&client, store.options.prepares());
    let look = known_ids(&store, session, &ids);
    let (is_true, found) = if let Some(part) = part {
        let (inserted, found) = join(insert(&store, session, &part, &rows, judged_on), look).await;
        (inserted?, found)
    } else {
        // What callers are told is true if the log is still the same.
        let (number, id) = (judged_on.number(), judged_on.id());
        let values: [Value<'_>; 3] =
            [(&number, Type::INT8), (&id, Type::UUID), (&judged_on.mark, Type::INT8)];
        let (same, found) = join(session.query(&store.sql.is_last, &values), look).await;
        let same = same?.first().map(|row| row.try_get(0)).transpose()?;
        (same.unwrap_or(false), Ok(found?))
    };
    Ok(is_true.then_some(found))
}
