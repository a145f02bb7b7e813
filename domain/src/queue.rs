//! Turns: the callers of one process that write to the same stream wait for each other. Conditions stay the truth; a turn
//! only saves attempts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals::StreamId;
use futures_util::lock::{Mutex as Queue, OwnedMutexGuard};

type Queues = Arc<Mutex<HashMap<StreamId, Arc<Queue<()>>>>>;

/// One queue for each stream that is in use; it is removed with its last user.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Queues);

/// A turn. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    // Dropped first: the queue is then free before it is looked at.
    _held: OwnedMutexGuard<()>,
    _place: Place,
}

/// A place in a queue, also of a caller that still waits.
#[derive(Debug)]
struct Place {
    queues: Queues,
    stream: StreamId,
    queue: Option<Arc<Queue<()>>>,
}

impl Turns {
    /// Waits for the turn of this stream. Dropping the future leaves the queue.
    pub(crate) async fn take(&self, stream: &StreamId) -> Turn {
        let queue = Arc::clone(lock(&self.0).entry(stream.clone()).or_default());
        let place = Place {
            queues: Arc::clone(&self.0),
            stream: stream.clone(),
            queue: Some(Arc::clone(&queue)),
        };
        Turn { _held: queue.lock_owned().await, _place: place }
    }

    /// How many streams are in use.
    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = lock(&self.queues);
        self.queue = None;
        // Places are made under this lock, so nobody else holds the queue if only the map does.
        if queues.get(&self.stream).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.stream);
        }
    }
}

fn lock(
    queues: &Mutex<HashMap<StreamId, Arc<Queue<()>>>>,
) -> MutexGuard<'_, HashMap<StreamId, Arc<Queue<()>>>> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn c8_who_gives_up_in_the_queue_blocks_nobody_and_leaves_nothing() {
        let (turns, stream) = (Turns::default(), StreamId::from_static("a", "b"));
        let context = &mut Context::from_waker(Waker::noop());
        let first = pin!(turns.take(&stream)).poll(context);
        assert!(first.is_ready());
        let mut second = Box::pin(turns.take(&stream));
        assert!(second.as_mut().poll(context).is_pending());
        let mut third = Box::pin(turns.take(&stream));
        assert!(third.as_mut().poll(context).is_pending());
        drop(second);
        assert_eq!(turns.len(), 1);
        drop(first);
        let third = third.as_mut().poll(context);
        assert!(third.is_ready());
        drop(third);
        assert_eq!(turns.len(), 0, "the queue is removed with its last user");
    }
}
