//! Systems: applications that follow one another, described without any infrastructure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use annals::{CategoryName, EventStore, Query, QueryItem, SequenceNumber, Source};
use annals_state::StateStore;

use crate::claim::checked;
use crate::error::{ProcessingError, Result};
use crate::group::Group;
use crate::partition::Partitions;
use crate::policy::Policy;
use crate::processor::Processor;
use crate::services::Services;
use crate::timer::Timer;

/// Applications and the pipes between them.
///
/// An application is a category of events, and a policy if it follows others: it reacts to their events with events of
/// its own. In the pipe `["orders", "reservations", "orders"]` the reservations follow the orders and the orders follow the
/// reservations; loops are fine. The same system runs in one thread, in tasks, and in several processes.
///
/// ```
/// # use std::sync::Arc;
/// # use annals::{BoxError, EventStore, NewEvent, StoredEvent, StreamId, WriteCondition};
/// # use annals_memory::{MemoryAdapter, MemoryState};
/// # use annals_processing::{LogUpTo, Out, Policy, System, SystemTimer, async_trait};
/// # struct Reserve;
/// # #[async_trait]
/// # impl Policy for Reserve {
/// #     async fn react(&self, event: &StoredEvent, _: &LogUpTo, out: &mut Out) -> Result<(), BoxError> {
/// #         let stream = StreamId::new("reservations", event.stream.name.as_str())?;
/// #         out.append(stream, [NewEvent::json("reserved", &1)?], WriteCondition::Always)?;
/// #         Ok(())
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let store = EventStore::new(MemoryAdapter::new());
/// # let state: Arc<dyn annals_state::StateStore> = Arc::new(MemoryState::new());
/// let system = System::new()
///     .source("orders")?
///     .application("reservations", Reserve)?
///     .pipe(["orders", "reservations"])
///     .build()?;
/// let mut settling = system.settling(&store, &state, &SystemTimer::new())?;
/// let order = store.stream(StreamId::from_static("orders", "o-1"));
/// order.append([NewEvent::json("order-placed", &1)?], WriteCondition::Always).await?;
/// settling.settle().await?;
/// // Everything downstream is done.
/// let reserved = store.stream(StreamId::from_static("reservations", "o-1")).latest().await?;
/// assert!(reserved.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use = "a system is built with `build`"]
pub struct System {
    applications: BTreeMap<Box<str>, Option<Arc<dyn Policy>>>,
    pipes: Vec<Vec<String>>,
}

impl System {
    /// A system without applications.
    pub fn new() -> Self {
        Self::default()
    }

    /// An application that follows others with `policy`. Its events are of the category of its name.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) for an invalid name or one that another application has.
    pub fn application(self, name: &str, policy: impl Policy) -> Result<Self> {
        self.with(name, Some(Arc::new(policy)))
    }

    /// An application that follows no other: its events come from elsewhere.
    ///
    /// # Errors
    /// As [`application`](Self::application).
    pub fn source(self, name: &str) -> Result<Self> {
        self.with(name, None)
    }

    fn with(mut self, name: &str, policy: Option<Arc<dyn Policy>>) -> Result<Self> {
        let name = checked("application", name.into())?;
        CategoryName::new(&*name).map_err(annals::Error::from)?;
        if self.applications.contains_key(&name) {
            return Err(ProcessingError::misuse(format!("there are two applications {name}")));
        }
        self.applications.insert(name, policy);
        Ok(self)
    }

    /// Each application of a pipe follows the one before it.
    pub fn pipe<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.pipes.push(names.into_iter().map(Into::into).collect());
        self
    }

    /// Checks it, and derives who follows whom.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if a pipe names an application that there is not, or if one that follows others has
    /// no policy.
    pub fn build(self) -> Result<Applications> {
        let mut follows: BTreeMap<Box<str>, BTreeSet<Box<str>>> = BTreeMap::new();
        for pipe in &self.pipes {
            if let Some(name) = pipe.iter().find(|one| !self.applications.contains_key(&***one)) {
                return Err(ProcessingError::misuse(format!("there is no application {name}")));
            }
            for (leader, follower) in pipe.iter().zip(pipe.iter().skip(1)) {
                if self.applications.get(&**follower).is_none_or(Option::is_none) {
                    let text = format!("{follower} follows {leader} and has no policy");
                    return Err(ProcessingError::misuse(text));
                }
                follows.entry(follower.as_str().into()).or_default().insert(leader.as_str().into());
            }
        }
        Ok(Applications { applications: self.applications, follows })
    }
}

/// A system that is right in itself. It has not begun, and may be begun in several ways and places.
#[derive(Clone)]
pub struct Applications {
    applications: BTreeMap<Box<str>, Option<Arc<dyn Policy>>>,
    /// The leaders of each follower.
    follows: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
}

impl Applications {
    /// The applications that others follow and that follow none.
    #[must_use]
    pub fn leaders(&self) -> Vec<&str> {
        self.those(|is_leader, is_follower| is_leader && !is_follower)
    }

    /// The applications that follow others and that none follows.
    #[must_use]
    pub fn followers(&self) -> Vec<&str> {
        self.those(|is_leader, is_follower| is_follower && !is_leader)
    }

    /// The applications that follow others and that others follow.
    #[must_use]
    pub fn processors(&self) -> Vec<&str> {
        self.those(|is_leader, is_follower| is_leader && is_follower)
    }

    /// The applications that no pipe joins with others.
    #[must_use]
    pub fn singles(&self) -> Vec<&str> {
        self.those(|is_leader, is_follower| !is_leader && !is_follower)
    }

    fn those(&self, wanted: impl Fn(bool, bool) -> bool) -> Vec<&str> {
        let is_leader = |name: &str| self.follows.values().any(|leaders| leaders.contains(name));
        let names = self.applications.keys().map(|name| &**name);
        names.filter(|name| wanted(is_leader(name), self.follows.contains_key(*name))).collect()
    }

    /// The processor of one follower.
    fn processor(
        &self,
        name: &str,
        store: &EventStore,
        state: Arc<dyn StateStore>,
        timer: impl Timer,
    ) -> Result<Processor> {
        let policy = self.applications.get(name).cloned().flatten();
        let (Some(policy), Some(leaders)) = (policy, self.follows.get(name)) else {
            return Err(ProcessingError::misuse(format!("{name} follows no application")));
        };
        let mut items = Vec::new();
        for leader in leaders {
            let category = CategoryName::new(&**leader).map_err(annals::Error::from)?;
            items.push(QueryItem::new(Source::Category(category)));
        }
        let made = Processor::policy(name, store, state, policy, timer)?;
        made.with_query(Query::any_of(items))
    }

    fn all(
        &self,
        store: &EventStore,
        state: &Arc<dyn StateStore>,
        timer: &(impl Timer + Clone),
    ) -> Result<Vec<Processor>> {
        let made = |name: &str| self.processor(name, store, Arc::clone(state), timer.clone());
        self.follows.keys().map(|name| made(name)).collect()
    }

    /// All of it in one thread: what is there is processed when it is asked for.
    ///
    /// # Errors
    /// As [`Processor::policy`].
    pub fn settling(
        &self,
        store: &EventStore,
        state: &Arc<dyn StateStore>,
        timer: &(impl Timer + Clone),
    ) -> Result<Settling> {
        Ok(Settling { processors: self.all(store, state, timer)? })
    }

    /// All of it as services of one process, each processor a task of its own. It begins with what is there.
    ///
    /// # Errors
    /// As [`Processor::policy`].
    pub fn services(
        &self,
        store: &EventStore,
        state: &Arc<dyn StateStore>,
        timer: &(impl Timer + Clone),
    ) -> Result<Services> {
        let processors = self.all(store, state, timer)?;
        let services = Services::new(timer.clone());
        processors.into_iter().try_fold(services, Services::processor)
    }

    /// The share of one process: a node of a group for each follower, with its name. The other processes make the same.
    ///
    /// # Errors
    /// As [`Processor::policy`] and [`Group::new`].
    pub fn groups(
        &self,
        store: &EventStore,
        state: &Arc<dyn StateStore>,
        timer: &(impl Timer + Clone),
        partitions: &Partitions,
    ) -> Result<Vec<(Box<str>, Group)>> {
        let group = |name: &str| {
            let (all, of, store) = (self.clone(), name.to_owned(), store.clone());
            let (state, timer) = (Arc::clone(state), timer.clone());
            let make = move || all.processor(&of, &store, Arc::clone(&state), timer.clone());
            Ok((name.into(), Group::new(partitions.clone(), make)?))
        };
        self.follows.keys().map(|name| group(name)).collect()
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").field("pipes", &self.pipes).finish_non_exhaustive()
    }
}

impl fmt::Debug for Applications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applications").field("follows", &self.follows).finish_non_exhaustive()
    }
}

/// A system in one thread.
#[derive(Debug)]
#[must_use = "a system does nothing until it settles"]
pub struct Settling {
    processors: Vec<Processor>,
}

impl Settling {
    /// Processes what is there, and what follows from that, until nothing follows any more. When it returns, everything
    /// downstream of what was appended before is done. Applications that answer each other without end never settle.
    ///
    /// # Errors
    /// Those of [`Processor::settle`]; it may be called again.
    ///
    /// # Cancel safety
    /// As [`Processor::settle`].
    pub async fn settle(&mut self) -> Result<()> {
        let mut before: Vec<SequenceNumber> = Vec::new();
        loop {
            let mut reached = Vec::with_capacity(self.processors.len());
            for processor in &mut self.processors {
                reached.push(processor.settle().await?);
            }
            if reached == before {
                return Ok(());
            }
            before = reached;
        }
    }
}
