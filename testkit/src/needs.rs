//! What a check of storage can need: a capability, a hook of the harness, another process.

use annals::{Capabilities, Order};
use serde::{Deserialize, Serialize};

use crate::engine::Missing;
use crate::harness::{Disturbance, Hook};

/// A capability that a check can depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the capability of that name, declared or limited")]
pub enum Feature {
    Durable,
    Shared,
    ContiguousSequence,
    MultiStreamAppend,
    QueryConditions,
    CustomConditions,
    Tags,
    ExactPayloadBytes,
    LogOrder,
    CategoryOrder,
    MaxEventsPerAppend,
    MaxPayloadBytes,
    MaxAppendBytes,
    MaxQueryParts,
    /// [`annals::KnownIds::Forever`].
    KnownIds,
}

impl Feature {
    /// Whether `capabilities` declare it.
    #[must_use]
    pub fn is_declared(self, capabilities: &Capabilities) -> bool {
        match self {
            Self::Durable => capabilities.durable,
            Self::Shared => capabilities.shared,
            Self::ContiguousSequence => capabilities.contiguous_sequence,
            Self::MultiStreamAppend => capabilities.multi_stream_append,
            Self::QueryConditions => capabilities.query_conditions,
            Self::CustomConditions => capabilities.custom_conditions,
            Self::Tags => capabilities.tags,
            Self::ExactPayloadBytes => capabilities.exact_payload_bytes,
            Self::LogOrder => capabilities.order >= Order::Log,
            Self::CategoryOrder => capabilities.order >= Order::Category,
            Self::MaxEventsPerAppend => capabilities.max_events_per_append.is_some(),
            Self::MaxPayloadBytes => capabilities.max_payload_bytes.is_some(),
            Self::MaxAppendBytes => capabilities.max_append_bytes.is_some(),
            Self::MaxQueryParts => capabilities.max_query_parts.is_some(),
            Self::KnownIds => capabilities.known_ids == annals::KnownIds::Forever,
        }
    }
}

/// What must be given for a check to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The capability is declared.
    Has(Feature),
    /// The capability is not declared: the check proves that it is refused.
    Lacks(Feature),
    /// The harness offers the hook.
    Hook(Hook),
    /// The harness offers this disturbance.
    Disturb(Disturbance),
    /// A child process can reach the same data: `durable`, `shared` or [`Hook::Processes`].
    Processes,
}

impl Need {
    /// Why the check does not apply, if it does not.
    #[must_use]
    pub fn missing(&self, capabilities: &Capabilities, hooks: &[Hook]) -> Option<Missing> {
        let hooked = |hook| hooks.contains(&hook);
        match *self {
            Self::Has(feature) if !feature.is_declared(capabilities) => {
                Some(Missing::Capability(format!("{feature:?} is not declared")))
            }
            Self::Lacks(feature) if feature.is_declared(capabilities) => {
                Some(Missing::Capability(format!("{feature:?} is declared")))
            }
            Self::Hook(hook) if !hooked(hook) => {
                Some(Missing::Hook(format!("the harness offers no {hook:?}")))
            }
            Self::Disturb(disturbance) if !hooked(Hook::Disturb(disturbance)) => {
                Some(Missing::Hook(format!("the harness offers no {disturbance:?}")))
            }
            Self::Processes
                if !capabilities.durable && !capabilities.shared && !hooked(Hook::Processes) =>
            {
                let text = "no other process can reach the data";
                Some(Missing::Capability(text.to_owned()))
            }
            _ => None,
        }
    }
}
