//! What a policy decides: the only way in which it appends.

use annals::{
    Append, Context, Error, EventId, NewEvent, Result, StoredEvent, StreamId, WriteCondition,
};

/// What follows from one event. It assigns each event its id, and says in its metadata what caused it.
#[derive(Debug)]
pub struct Out {
    base: EventId,
    nth: u64,
    context: Context,
    appends: Vec<Append>,
    /// Where each event is, in the order of the calls: which append, and which event of it.
    places: Vec<(usize, usize)>,
}

impl Out {
    /// What the policy of this name makes of `input`: processors make it, and tests of policies.
    #[must_use]
    pub fn new(policy: &str, input: &StoredEvent) -> Self {
        let base = input.id().derived_for(policy);
        let (appends, places) = (Vec::new(), Vec::new());
        Self { base, nth: 0, context: Context::caused_by(input), appends, places }
    }

    /// Appends `events` to `stream` if `condition` holds. All that a decision appends is appended together or not at all.
    /// Each event gets the id that follows from the input and from its place in the decision, and the correlation and
    /// causation of the input, unless its metadata has its own.
    ///
    /// # Errors
    /// [`Invalid`](Error::Invalid) for what is reserved, for metadata that is no JSON object, and for a second condition on
    /// one stream.
    pub fn append(
        &mut self,
        stream: StreamId,
        events: impl IntoIterator<Item = NewEvent>,
        condition: WriteCondition,
    ) -> Result<()> {
        let mut made = Vec::new();
        let mut nth = self.nth;
        for event in events {
            made.push(self.context.stamp(event.with_id(self.base.derived(nth)))?);
            nth += 1;
        }
        let append = Append::new(stream, made, condition);
        append.check_reserved()?;
        self.add(append)?;
        self.nth = nth;
        Ok(())
    }

    fn add(&mut self, append: Append) -> Result<()> {
        let count = append.events.len();
        let mut others = self.appends.iter_mut().enumerate();
        let (place, first) = match others.find(|(_, other)| other.stream == append.stream) {
            None => {
                self.appends.push(append);
                (self.appends.len() - 1, 0)
            }
            Some((place, other)) if append.condition == WriteCondition::Always => {
                let first = other.events.len();
                other.events.extend(append.events);
                (place, first)
            }
            Some(_) => {
                let text = format!("one decision has two conditions on stream {}", append.stream);
                return Err(Error::invalid(text));
            }
        };
        self.places.extend((first..first + count).map(|nth| (place, nth)));
        Ok(())
    }

    /// Event `nth` of the decision and its stream, in the order of the calls.
    pub(super) fn made(&self, nth: usize) -> Option<(&StreamId, &NewEvent)> {
        let (place, nth) = self.places.get(nth)?;
        let append = self.appends.get(*place)?;
        Some((&append.stream, append.events.get(*nth)?))
    }

    /// Appends what follows from an event of this decision together with it; returns how many events that are.
    pub(super) fn join(&mut self, own: Self) -> Result<usize> {
        let count = own.places.len();
        for append in own.appends {
            self.add(append)?;
        }
        Ok(count)
    }

    /// The id that event `nth` of the decision gets, from 0: for what refers to it.
    #[must_use]
    pub fn id(&self, nth: u64) -> EventId {
        self.base.derived(nth)
    }

    /// What was decided, in the order in which the streams were named.
    #[must_use]
    pub fn into_appends(self) -> Vec<Append> {
        self.appends
    }
}
