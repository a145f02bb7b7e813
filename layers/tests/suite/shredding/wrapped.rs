//! The keys of subjects: one each, wrapped by a master key, and never shown.

use std::sync::Arc;

use annals::{Error, NewEvent};
use annals_layers::{DataKeyId, Key, KeyId, KeyRing, Shredding, StoredKeys, SubjectKeys};
use annals_memory::MemoryState;
use annals_state::{DocumentKey, Expected, StateStore, Write};
use futures_util::future::join_all;

use super::{Outcome, Store, all, all_documents, enrolled, json, subject};
use crate::common::{key, ring};

#[tokio::test]
async fn l21_many_who_ask_at_once_get_one_key() -> Outcome {
    let (state, ada) = (Arc::new(MemoryState::new()), subject("ada"));
    let handles: Vec<_> =
        (0..16).map(|_| StoredKeys::new(Arc::clone(&state) as _, ring())).collect();
    let keys = join_all(handles.iter().map(|keys| keys.current(&ada))).await;
    let ids: Vec<DataKeyId> = keys.into_iter().map(|key| key.unwrap().0).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    Ok(())
}
#[tokio::test]
async fn l21_keys_are_wrapped_by_a_master_key_and_can_be_wrapped_anew() -> Outcome {
    let store = Store::new();
    for name in ["ada", "bob", "eve"] {
        store.append(json(&format!(r#"{{"$personal":"{name}","value":1}}"#))).await?;
    }
    store.keys.forget(&subject("eve")).await?;
    let before = store.read().await?;
    // Another master key under the same id, and a ring without the key.
    let wrong = KeyRing::new(KeyId(7), &Key::generate()?);
    let lacking = KeyRing::new(KeyId(8), &key());
    for (ring, is_corrupt) in [(wrong, true), (lacking, false)] {
        let keys = Arc::new(StoredKeys::new(Arc::clone(&store.state) as _, ring));
        let layer = Shredding::new(store.memory.clone(), keys)?;
        let error = all(&layer).await.unwrap_err();
        assert_eq!(matches!(error, Error::Corrupt(_)), is_corrupt, "{error}");
        assert!(matches!(error, Error::Corrupt(_) | Error::Backend(_)), "{error}");
    }
    let master = ring();
    master.add(KeyId(8), &Key::generate()?)?;
    master.activate(KeyId(8))?;
    let keys = Arc::new(StoredKeys::new(Arc::clone(&store.state) as _, master.clone()));
    assert_eq!((keys.rewrap().await?, keys.rewrap().await?), (2, 0));
    master.remove(KeyId(7))?;
    let layer = Shredding::new(store.memory.clone(), keys)?;
    assert_eq!(all(&layer).await?, before);
    Ok(())
}
#[tokio::test]
async fn l21_a_wrapped_key_that_is_given_to_another_subject_is_corrupt() -> Outcome {
    let store = Store::new();
    for name in ["ada", "bob"] {
        store.append(json(&format!(r#"{{"$personal":"{name}","value":1}}"#))).await?;
    }
    let documents = all_documents(&*store.state).await;
    let keys: Vec<_> =
        documents.iter().filter(|it| it.key.collection.as_str() == "annals.subject_keys").collect();
    let moved = Write::put(keys[0].key.clone(), keys[1].body.clone(), Expected::Any);
    store.state.commit(annals_state::Commit::new([moved])).await?;
    assert!(matches!(store.read().await, Err(Error::Corrupt(_))));
    // A subject's key that is gone is not made anew in silence.
    let ada = DocumentKey::new("annals.subjects", "ada")?;
    assert!(documents.iter().any(|document| document.key == ada));
    let gone = keys.iter().map(|key| Write::delete(key.key.clone(), Expected::Any));
    store.state.commit(annals_state::Commit::new(gone)).await?;
    assert!(matches!(store.keys.current(&subject("ada")).await, Err(Error::Corrupt(_))));
    Ok(())
}
#[tokio::test]
async fn l22_neither_values_nor_keys_are_shown() -> Outcome {
    let store = Store::new();
    let event = NewEvent::json("enrolled", &enrolled())?;
    store.append(event).await?;
    let (_, data_key) = store.keys.current(&subject("ada")).await?;
    let refused = store.append(json(r#"{"$personal":"ada","value":"Lovelace", "x":1}"#)).await;
    let shown = format!(
        "{:?} {:?} {:?} {data_key:?} {refused:?} {:?}",
        enrolled().student,
        store.layer,
        store.keys,
        store.keys.find(&[]).await?
    );
    assert!(!shown.contains("Lovelace"), "{shown}");
    assert!(shown.contains("Personal(\"ada\", ..)") && shown.contains("Key(..)"), "{shown}");
    Ok(())
}
