//! A small log of events with names and tags, and conditions on queries about it.

use annals::{
    EventName, NewEvent, Query, QueryItem, SequenceNumber, Source, StoredEvent, StreamId, Tags,
    WriteCondition,
};

use crate::checks::support::judged_conditions::{Form, Judged};
use crate::checks::support::ledger::{Ledger, light, most};
use crate::engine::{Failure, Outcome};
use crate::subject::{Context, but, event};

/// A ledger with what events and queries of the namespace are made from: a query of the log asks for names or tags
/// that nobody else uses.
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    prefix: String,
    pub(crate) forms: Vec<Form>,
    /// What was stored, in order.
    pub(crate) log: Vec<StoredEvent>,
    /// Counts the calls, so that forms and written streams go in turn.
    turn: usize,
}

impl World {
    pub(crate) async fn open(cx: &Context) -> Outcome<Self> {
        let ledger = Ledger::open(cx).await?;
        let forms = Form::all(&ledger.store);
        Ok(Self { ledger, prefix: cx.namespace().to_owned(), forms, log: Vec::new(), turn: 0 })
    }

    pub(crate) fn stream(&self, category: &str, name: &str) -> StreamId {
        self.ledger.store.stream(category, name)
    }

    fn name(&self, name: &str) -> Outcome<EventName> {
        let name = EventName::new(format!("{}{name}", self.prefix));
        name.map_err(|error| Failure::not_run(error.to_string()))
    }

    fn tags(&self, tags: &[&str]) -> Tags {
        self.ledger.store.tags(tags)
    }

    fn event(&self, name: &str, tags: &[&str]) -> Outcome<NewEvent> {
        let name = self.name(name)?;
        Ok(but(&event("happened"), |it| it.name = name).with_tags(self.tags(tags)))
    }

    /// Stores an event of this name.
    pub(crate) async fn put(
        &mut self,
        stream: &StreamId,
        name: &str,
        tags: &[&str],
    ) -> Outcome<StoredEvent> {
        let event = self.event(name, tags)?;
        let stored = self.ledger.one(stream, vec![event], WriteCondition::Always).await?;
        self.log.extend(stored.iter().cloned());
        stored.into_iter().next().ok_or_else(|| Failure::new("append returned no event"))
    }

    /// Stores so many events that no query of a name asks for.
    pub(crate) async fn fill(&mut self, stream: &StreamId, count: usize) -> Outcome {
        let mut batch = light(count);
        while !batch.is_empty() {
            let rest = batch.split_off(batch.len().min(most(&self.ledger.store)));
            let stored = self.ledger.one(stream, batch, WriteCondition::Always).await?;
            self.log.extend(stored);
            batch = rest;
        }
        Ok(())
    }

    pub(crate) fn item(
        &self,
        source: impl Into<Source>,
        names: &[&str],
        tags: &[&str],
    ) -> Outcome<QueryItem> {
        let names = names.iter().map(|name| self.name(name)).collect::<Outcome<Vec<_>>>()?;
        let mut item = QueryItem::new(source).with_tags(self.tags(tags));
        item.names = Some(names).filter(|names| !names.is_empty());
        Ok(item)
    }

    /// The condition that no event matches `query` after `after`, and whether it holds.
    pub(crate) fn judged(&self, query: &Query, after: SequenceNumber) -> Judged {
        let found =
            self.log.iter().any(|event| event.sequence_number > after && query.matches(event));
        Judged::new(WriteCondition::no_match(query.clone(), after), !found)
    }

    pub(crate) async fn judge(&mut self, stream: &StreamId, case: &Judged, form: Form) -> Outcome {
        self.log.extend(self.ledger.judge(stream, case, form).await?);
        Ok(())
    }

    /// Around the first and the last event that matches, and at both ends of the log; where `far`, beyond them too.
    fn bounds(&self, query: &Query, far: bool) -> Vec<SequenceNumber> {
        let number = |event: &StoredEvent| event.sequence_number.value();
        let mut matching = self.log.iter().filter(|event| query.matches(event)).map(number);
        let head = self.log.last().map_or(0, number);
        let first = matching.next().unwrap_or(head);
        let last = matching.next_back().unwrap_or(first);
        let mut numbers = vec![0, head];
        numbers.extend([first, last].into_iter().flat_map(|it| [it.saturating_sub(1), it, it + 1]));
        if far {
            let most = SequenceNumber::MAX.value();
            numbers.extend([head + 1, head + 1_000, most, most + 1, u64::MAX]);
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(SequenceNumber::new).collect()
    }

    /// Appends to the streams under a condition on the query, with every bound that could matter.
    pub(crate) async fn try_query(
        &mut self,
        query: &Query,
        written: &[StreamId],
        far: bool,
    ) -> Outcome {
        for after in self.bounds(query, far) {
            self.turn += 1;
            let odd = self.forms[self.turn / 2 % self.forms.len()];
            let form = if self.turn.is_multiple_of(2) { Form::Append(1) } else { odd };
            let stream = &written[self.turn % written.len()];
            let case = self.judged(query, after);
            self.judge(stream, &case, form).await?;
        }
        Ok(())
    }

    /// Matches with more events around them than any usual page holds.
    pub(crate) async fn far_apart(&mut self) -> Outcome {
        let writer = self.stream("writers", "w");
        for (nth, (before, after)) in [(0, 1_030), (1_030, 0), (600, 600)].into_iter().enumerate() {
            let (long, name) = (self.stream("long", &format!("{nth}")), format!("rare-{nth}"));
            self.fill(&long, before).await?;
            self.put(&long, &name, &[]).await?;
            self.fill(&long, after).await?;
            for source in [Source::from(long.clone()), long.category.clone().into(), Source::Log] {
                let query = Query::from(self.item(source, &[name.as_str()], &[])?);
                let found = self.log.iter().rev().find(|event| query.matches(event));
                let number = found.map_or(0, |event| event.sequence_number.value());
                for after in [0, number / 2, number - 1, number] {
                    let case = self.judged(&query, SequenceNumber::new(after));
                    self.judge(&writer, &case, Form::Append(1)).await?;
                }
            }
        }
        Ok(())
    }
}
