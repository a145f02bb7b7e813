#![doc = include_str!("../README.md")]

mod attributes;
mod expand;
mod shape;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes an enum, or a struct, the events of a log.
///
/// - `#[event(name = "World.Created")]` on a variant or a struct: the name in the log. It is required, so that a renamed
///   type still reads its history.
/// - `#[event(alias = "World.Made")]`, any number of times: an older name that is still read.
/// - `#[event(version = 3, upcast(v1_to_v2, v2_to_v3))]`: the payload's schema version, and for each earlier version the
///   function that lifts it to the next, `fn(&mut serde_json::Value)`.
/// - `#[event(tag = "course")]` on a field: the event has the tag `course:VALUE`, by the field's `Display`.
/// - `#[serde(..)]` on a field: as in `Serialize` and `Deserialize`, which need not be derived.
/// - `#[event(format = Cbor)]` on the enum or the struct: how payloads are written; JSON without it.
/// - A variant with one unnamed field and without a name takes over the events of the field's type.
#[proc_macro_derive(Event, attributes(event, serde))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    shape::Events::of(&input)
        .map_or_else(syn::Error::into_compile_error, |events| expand::expand(&events))
        .into()
}
