//! A workflow whose process ends before its commit, and between the commit and the dispatch. Each step is asserted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::{
    BoxError, EventStore, NewEvent, ReadOptions, StoredEvent, StreamId, StreamName, WriteCondition,
};
use annals_processing::{
    Claim, Command, CommandBus, Processor, Step, SystemTimer, Workflow, reset,
};
use annals_state::StateStore;

use crate::story::Say;

/// Orders a parcel once an order is paid.
struct Fulfilment {
    /// The process ends in the middle of a decision.
    ends: AtomicBool,
}

impl Workflow for Fulfilment {
    type State = bool;

    fn instance(&self, event: &StoredEvent) -> Result<Option<StreamName>, BoxError> {
        let is_order = event.stream.category.as_str() == "orders";
        Ok(is_order.then(|| event.stream.name.clone()))
    }

    fn initial(&self) -> bool {
        false
    }

    fn evolve(&self, is_sent: &mut bool, event: &StoredEvent) -> Result<(), BoxError> {
        *is_sent |= *event.name() == "send-parcel";
        Ok(())
    }

    fn decide(&self, is_sent: &bool, input: &StoredEvent) -> Result<Vec<Step>, BoxError> {
        if self.ends.load(Ordering::SeqCst) {
            return Err("the process ends here".into());
        }
        let order = input.stream.name.as_str();
        Ok(match input.name().as_str() {
            "order-paid" if !is_sent => vec![
                Step::Event(NewEvent::json("fulfilment-begun", order)?),
                Step::Command(NewEvent::json("send-parcel", order)?),
            ],
            _ => Vec::new(),
        })
    }
}

/// The handler: it appends with an id that follows from that of the command, so a repeat appends nothing.
fn bus(store: &EventStore) -> Result<CommandBus, BoxError> {
    let store = store.clone();
    let send = move |command: Command| {
        let store = store.clone();
        async move {
            let order: String = command.event().payload().to_json()?;
            let sent = NewEvent::json("parcel-sent", &order)?.with_id(command.id().derived(0));
            let parcel = store.stream(StreamId::new("parcels", order)?);
            match parcel.append([sent], WriteCondition::Always).await {
                Ok(_) | Err(annals::Error::DuplicateEvent(_)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
    };
    Ok(CommandBus::new().on("send-parcel", send)?)
}

/// Plays it on an empty store.
///
/// # Errors
/// Those of the stores.
///
/// # Panics
/// If something is not as it should be.
pub async fn story(
    store: &EventStore,
    state: &Arc<dyn StateStore>,
    say: Say<'_>,
) -> Result<(), BoxError> {
    let timer = SystemTimer::new();
    let workflow = |ends| {
        let workflow = Fulfilment { ends: AtomicBool::new(ends) };
        Processor::workflow("fulfilment", store, Arc::clone(state), workflow, timer)
    };
    let commands = || {
        let (name, of) = ("parcel-sender", "fulfilment");
        Processor::commands(name, store, Arc::clone(state), of, bus(store)?, timer)
            .map_err(BoxError::from)
    };
    let count = async |category: &'static str| -> Result<usize, BoxError> {
        let category = store.category(annals::CategoryName::from_static(category));
        Ok(category.read(ReadOptions::default()).into_vec().await?.len())
    };
    let order = store.stream(StreamId::from_static("orders", "o-1"));
    let events = [NewEvent::json("order-placed", &1)?, NewEvent::json("order-paid", &1)?];
    order.append(events, WriteCondition::StreamIsEmpty).await?;

    let ended = workflow(true)?.settle().await;
    assert!(ended.is_err(), "it ended in the middle");
    commands()?.settle().await?;
    assert_eq!((count("fulfilment").await?, count("parcels").await?), (0, 0));
    say("a process that ends before its commit: nothing is recorded, and nothing is sent".into());

    workflow(false)?.settle().await?;
    assert_eq!((count("fulfilment").await?, count("parcels").await?), (2, 0));
    say("a process that ends after its commit: the command is recorded, and not sent yet".into());

    commands()?.settle().await?;
    assert_eq!(count("parcels").await?, 1);
    say("the next process sends the parcel".into());

    reset(&**state, &Claim::new("fulfilment")?).await?;
    workflow(false)?.settle().await?;
    commands()?.settle().await?;
    assert_eq!((count("fulfilment").await?, count("parcels").await?), (2, 1));
    say("all events are decided on again: there is one parcel".into());
    Ok(())
}
