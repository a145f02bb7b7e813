//! Keys: rings, providers, and that nothing shows them.

use annals::{Error, EventStore, ReadOptions, WriteCondition};
use annals_layers::{
    Codec, Compression, DecodeError, Encoded, Key, KeyId, KeyProvider, KeyRing, Undecodable,
};
use annals_memory::MemoryAdapter;

use super::{EARTH, Outcome, SECRET, event, one, raw};
use crate::common::{ring, sealed};

#[tokio::test]
async fn keys_rotate_and_a_nonce_is_never_used_twice() -> Outcome {
    let keys = ring();
    let memory = MemoryAdapter::new();
    let store =
        EventStore::new(Encoded::new(memory.clone(), Codec::new().with_keys(keys.clone()))?);
    let batch: Vec<_> = (0..500).map(|_| event("same")).collect();
    store.stream(EARTH).append(batch, WriteCondition::Always).await?;
    keys.add(KeyId(8), &Key::generate()?)?;
    keys.activate(KeyId(8))?;
    store.stream(EARTH).append([event("new")], WriteCondition::Always).await?;
    assert_eq!(store.stream(EARTH).read(ReadOptions::default()).into_vec().await?.len(), 501);
    let raw = EventStore::new(memory).stream(EARTH).read(ReadOptions::default()).into_vec().await?;
    let mut nonces: Vec<_> =
        raw.iter().map(|event| event.payload().as_bytes().slice(6..18)).collect();
    assert_eq!(raw[500].payload().as_bytes()[2..6], [0, 0, 0, 8]);
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 501);

    assert!(keys.remove(KeyId(8)).is_err() && keys.activate(KeyId(1)).is_err());
    assert!(keys.add(KeyId(7), &Key::generate()?).is_err(), "an id names one key");
    keys.remove(KeyId(7))?;
    let lost = store.stream(EARTH).read(ReadOptions::default()).into_vec().await.unwrap_err();
    assert_eq!(Undecodable::of(&lost).unwrap().cause, DecodeError::UnknownKey(7));
    Ok(())
}
#[derive(Debug)]
struct Provider(Vec<(KeyId, Key)>, KeyId);
#[annals::adapter::async_trait]
impl KeyProvider for Provider {
    async fn keys(&self) -> annals::Result<Vec<(KeyId, Key)>> {
        Ok(self.0.clone())
    }

    async fn active(&self) -> annals::Result<KeyId> {
        Ok(self.1)
    }
}
#[tokio::test]
async fn a_provider_changes_a_ring_whole_or_not_at_all() -> Outcome {
    let keys = ring();
    let (second, third) = (Key::generate()?, Key::generate()?);
    keys.refresh(&Provider(vec![(KeyId(8), second.clone())], KeyId(8))).await?;
    assert_eq!((keys.active(), keys.ids()), (KeyId(8), vec![KeyId(7), KeyId(8)]));
    for wrong in [
        Provider(vec![(KeyId(9), third.clone()), (KeyId(7), second)], KeyId(9)),
        Provider(vec![(KeyId(9), third)], KeyId(10)),
    ] {
        assert!(matches!(keys.refresh(&wrong).await, Err(Error::Invalid(_))));
        assert_eq!((keys.active(), keys.ids()), (KeyId(8), vec![KeyId(7), KeyId(8)]));
    }
    Ok(())
}
#[test]
fn keys_of_other_sizes_are_rejected() {
    use base64::Engine as _;
    for bytes in 0..=64 {
        let key = vec![7; bytes];
        let text = base64::prelude::BASE64_STANDARD.encode(&key);
        let is_gcm = [16, 24, 32].contains(&bytes);
        assert_eq!(Key::aes_gcm(&key).is_ok(), is_gcm, "{bytes}");
        assert_eq!(Key::aes_gcm_from_base64(&text).is_ok(), is_gcm, "{bytes}");
        let siv = Key::from_base64(&format!(" {text}\n"));
        assert_eq!(siv.is_ok(), bytes == 32, "{bytes}");
        if let Err(error) = siv {
            assert_eq!(error, annals_layers::InvalidKey::Length(bytes));
        }
    }
}
#[tokio::test]
async fn l22_debug_and_errors_show_neither_key_nor_plaintext() -> Outcome {
    let text = "c2VjcmV0LWtleS1vZi10aGlydHktdHdvLWJ5dGVzISE=";
    let key = Key::from_base64(text)?;
    let keys = KeyRing::new(KeyId(3), &key);
    let codec = Codec::new().with_keys(keys.clone()).with_compression(Compression::Zstd(3));
    let layer = Encoded::new(MemoryAdapter::new(), codec.clone())?;
    let stored = raw(codec.clone(), event(SECRET)).await?;
    let forged =
        one(sealed().with_keys(KeyRing::new(KeyId(3), &Key::generate()?)), stored.event.clone())
            .await;
    let shown =
        format!("{key:?} {keys:?} {codec:?} {layer:?} {forged:?} {}", forged.as_ref().unwrap_err());
    for hidden in ["secret-key", "115, 101, 99", text, SECRET] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    assert!(shown.starts_with("Key(..)"));
    let bad = format!(
        "{:?} {}",
        Key::from_base64("c2VjcmV0").unwrap_err(),
        Key::from_base64("!c2Vj").unwrap_err()
    );
    assert!(!bad.contains("c2V"));
    Ok(())
}
