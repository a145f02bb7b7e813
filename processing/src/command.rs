//! Commands: what has to be done, and the bus that has one handler for each name.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use annals::{BoxError, EventId, EventName, InvalidName, StoredEvent};
use annals_state::{StateStore, Write};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::error::{ProcessingError, Result};
use crate::policy::failed;
use crate::sink::{Batch, Sink, SinkError};
use crate::tracking::CANNOT_RESET;
use crate::workflow::is_command;

/// A command that a workflow has recorded.
///
/// Its id is that of its event: it is the same however often the command is dispatched. A handler that appends events
/// with ids that are [`derived`](EventId::derived) from it does its work once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command(StoredEvent);

impl Command {
    /// The command that this event records, by any recorder.
    #[must_use]
    pub fn new(event: StoredEvent) -> Self {
        Self(event)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.0.id()
    }

    /// What has to be done.
    #[must_use]
    pub fn name(&self) -> &EventName {
        self.0.name()
    }

    /// The event that records it: its payload, and what caused it.
    #[must_use]
    pub fn event(&self) -> &StoredEvent {
        &self.0
    }
}

/// What is around the handling of each command: it may look at it, measure it, or not call `next` at all.
#[async_trait]
pub trait Middleware: Send + Sync + 'static {
    /// Handles the command, usually with `next.run(command)`.
    ///
    /// # Errors
    /// Those of `next`, and its own.
    async fn handle(&self, command: Command, next: Next<'_>) -> Result<(), BoxError>;
}

/// What a middleware is around.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    around: &'a [Arc<dyn Middleware>],
    handler: &'a Handler,
}

type Handler = Arc<dyn Fn(Command) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

impl Next<'_> {
    /// Handles the command.
    ///
    /// # Errors
    /// Those of the handler and of the middleware in between.
    pub async fn run(self, command: Command) -> Result<(), BoxError> {
        match self.around.split_first() {
            None => (self.handler)(command).await,
            Some((first, rest)) => {
                first.handle(command, Next { around: rest, handler: self.handler }).await
            }
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("around", &self.around.len()).finish_non_exhaustive()
    }
}

/// Handlers of commands, one for each name.
///
/// ```
/// # use annals_processing::CommandBus;
/// # fn main() -> annals_processing::Result<()> {
/// let bus = CommandBus::new().on("ship", |command| async move {
///     let order: String = command.event().payload().to_json()?;
///     println!("ships {order}");
///     Ok(())
/// })?;
/// assert!(bus.on("ship", |_| async { Ok(()) }).is_err(), "one handler a name");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct CommandBus {
    handlers: BTreeMap<EventName, Handler>,
    around: Vec<Arc<dyn Middleware>>,
}

impl CommandBus {
    /// A bus without handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles commands of this name.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) if they have a handler already, or if the name is none.
    pub fn on<F>(
        mut self,
        name: impl TryInto<EventName, Error: Into<InvalidName>>,
        handle: impl Fn(Command) -> F + Send + Sync + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let name = name.try_into().map_err(|error| annals::Error::from(error.into()))?;
        if self.handlers.contains_key(&name) {
            return Err(ProcessingError::misuse(format!("command {name} has two handlers")));
        }
        self.handlers.insert(name, Arc::new(move |command| handle(command).boxed()));
        Ok(self)
    }

    /// Puts a middleware around all that are there; the last one is the outermost.
    #[must_use]
    pub fn around(mut self, middleware: impl Middleware) -> Self {
        self.around.insert(0, Arc::new(middleware));
        self
    }

    /// Handles a command now.
    ///
    /// # Errors
    /// [`Misuse`](ProcessingError::Misuse) with its name if nothing handles it; what the handler and the middleware return.
    ///
    /// # Cancel safety
    /// That of the handler.
    pub async fn dispatch(&self, command: Command) -> Result<(), BoxError> {
        let Some(handler) = self.handlers.get(command.name()) else {
            let text = format!("nothing handles command {}", command.name());
            return Err(ProcessingError::misuse(text).into());
        };
        Next { around: &self.around, handler }.run(command).await
    }
}

impl fmt::Debug for CommandBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandBus")
            .field("commands", &self.handlers.keys())
            .field("around", &self.around.len())
            .finish()
    }
}

/// Dispatches the commands that workflows have recorded: each after it is stored, in the order of its stream, and at least
/// once. The tracking moves after the handlers have succeeded.
pub(crate) struct Dispatcher {
    bus: CommandBus,
    state: Arc<dyn StateStore>,
    /// What was handled of batches whose commit was not made: that stays true, whatever becomes of the commit.
    handled: HashSet<EventId>,
}

/// So many are remembered at most.
const MOST_HANDLED: usize = 10_000;

impl Dispatcher {
    pub(crate) fn new(bus: CommandBus, state: Arc<dyn StateStore>) -> Self {
        Self { bus, state, handled: HashSet::new() }
    }
}

#[async_trait]
impl Sink for Dispatcher {
    async fn take(&mut self, batch: &Batch<'_>) -> Result<(), SinkError> {
        if self.handled.len() > MOST_HANDLED {
            self.handled.clear();
        }
        for event in batch.events().iter().filter(|event| is_command(event)) {
            if !self.handled.contains(&event.id()) {
                let handled = self.bus.dispatch(Command::new(event.clone())).await;
                handled.map_err(|error| failed(event, error))?;
                self.handled.insert(event.id());
            }
        }
        self.state.commit(batch.commit([])).await?;
        for event in batch.events() {
            self.handled.remove(&event.id());
        }
        Ok(())
    }

    fn forget(&mut self) {}

    /// Commands that were dispatched cannot be taken back.
    fn can_clear(&self) -> bool {
        false
    }

    async fn clear(&mut self, _: &Write) -> Result<(), SinkError> {
        Err(SinkError::Unsupported(CANNOT_RESET))
    }
}
