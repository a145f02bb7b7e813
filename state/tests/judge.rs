//! Commits are judged by one function for all stores. The rules of the contract are checks of the kit, which the tests of
//! each store run.

use annals::Payload;
use annals_state::{CollectionName, DocumentId, DocumentKey, Expected, StateError, Write, judge};

#[test]
fn a_store_that_looks_nothing_up_is_invalid() {
    let key = DocumentKey {
        collection: CollectionName::from_static("things"),
        id: DocumentId::from_static("a"),
    };
    let writes = [Write::put(key, Payload::bytes("a"), Expected::Any)];
    assert!(matches!(judge(&writes, &[]), Err(StateError::Invalid(_))));
    assert!(judge(&writes, &[None]).is_ok());
}
