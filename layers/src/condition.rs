//! Conditions of a call, as the adapter inside judges them and as the caller made them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use annals::{Error, Predicate, Result, StoredEvent, Unmet, WriteCondition};

/// What a layer makes of an event that it reads.
pub(crate) type Decode = Arc<dyn Fn(StoredEvent) -> Result<StoredEvent> + Send + Sync>;

/// A predicate of the caller, which sees events as they were appended. Of an event that cannot be read it is false, and
/// keeps the cause: there is no "not" among conditions, so false never lets an append through.
struct Decoded {
    own: Arc<dyn Predicate>,
    decode: Decode,
    cause: Mutex<Option<Error>>,
}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.own, f)
    }
}

impl Decoded {
    fn cause(&self) -> std::sync::MutexGuard<'_, Option<Error>> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Predicate for Decoded {
    fn expectation(&self) -> String {
        self.own.expectation()
    }

    fn holds(&self, last: Option<&StoredEvent>) -> bool {
        match last.cloned().map(&*self.decode).transpose() {
            Ok(last) => {
                // The adapter may call again when it repeats a transaction: the last answer counts.
                *self.cause() = None;
                self.own.holds(last.as_ref())
            }
            Err(error) => {
                *self.cause() = Some(error);
                false
            }
        }
    }
}

/// The wrapped predicates of a call.
pub(crate) struct Predicates {
    decode: Decode,
    wrapped: Vec<(Arc<dyn Predicate>, Arc<Decoded>)>,
}

impl Predicates {
    pub(crate) fn new(decode: Decode) -> Self {
        Self { decode, wrapped: Vec::new() }
    }

    /// The condition that the adapter inside judges.
    pub(crate) fn wrap(&mut self, condition: WriteCondition) -> Result<WriteCondition> {
        if !condition.needs_last_event() {
            return Ok(condition);
        }
        condition.map_leaves(|leaf| {
            let WriteCondition::Custom(own) = leaf else { return Ok(leaf) };
            let decode = Arc::clone(&self.decode);
            let decoded = Arc::new(Decoded { own, decode, cause: Mutex::default() });
            let inside: Arc<dyn Predicate> = Arc::clone(&decoded) as _;
            self.wrapped.push((Arc::clone(&inside), decoded));
            Ok(WriteCondition::Custom(inside))
        })
    }

    /// The error of the call in the caller's terms: with its own predicates; or why an event could not be read, if that
    /// is why one of them did not hold.
    pub(crate) fn unwrap(&self, error: Error) -> Error {
        let Error::ConditionFailed(unmet) = error else { return error };
        let Unmet { failed, .. } = &*unmet;
        let mut unreadable = None;
        let own = failed.clone().map_leaves(|leaf| {
            let WriteCondition::Custom(inside) = &leaf else { return Ok(leaf) };
            let found = self.wrapped.iter().find(|(wrapped, _)| Arc::ptr_eq(wrapped, inside));
            let Some((_, decoded)) = found else { return Ok(leaf) };
            unreadable = unreadable.take().or_else(|| decoded.cause().take());
            Ok(WriteCondition::Custom(Arc::clone(&decoded.own)))
        });
        if let Some(error) = unreadable {
            return error;
        }
        match own {
            Ok(own) => {
                let mut unmet = unmet;
                unmet.failed = own;
                Error::ConditionFailed(unmet)
            }
            Err(error) => error,
        }
    }
}
