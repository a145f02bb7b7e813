//! Layers that are configured by a lookup of names.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test that panics fails, as it should"
)]

use std::collections::HashMap;

use annals::{Append, Error, EventStore, NewEvent, StorageAdapter, StreamId, WriteCondition};
use annals_layers::{Codec, Encoded};
use annals_memory::MemoryAdapter;

const EARTH: StreamId = StreamId::from_static("worlds", "earth");
const SIV: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OLD: &str = "ICECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const GCM_128: &str = "AAECAwQFBgcICQoLDA0ODw==";

fn codec(names: &[(&str, &str)]) -> annals::Result<Codec> {
    let names: HashMap<&str, &str> = names.iter().copied().collect();
    Codec::from_lookup(|name| names.get(name).map(|value| (*value).to_owned()))
}

#[tokio::test]
async fn what_one_configuration_writes_another_with_its_keys_reads() -> annals::Result<()> {
    let memory = MemoryAdapter::new();
    let write = async |names: &[(&str, &str)]| -> annals::Result<()> {
        let layer = Encoded::new(memory.clone(), codec(names)?)?;
        let text =
            "a sentence that is long enough to be packed, packed, packed and packed".to_owned();
        let write = Append::new(EARTH, [NewEvent::json("said", &text)?], WriteCondition::Always);
        layer.append(vec![write]).await.map(|_| ())
    };
    write(&[]).await?;
    write(&[("COMPRESSOR", "zlib"), ("CIPHER_KEY", OLD)]).await?;
    write(&[("COMPRESSOR", "zstd:7"), ("CIPHER_KEY", SIV), ("CIPHER_KEY_ID", "2")]).await?;
    write(&[("COMPRESSOR", "none"), ("CIPHER_KEY", &format!(" {SIV}\n")), ("CIPHER_KEY_ID", "2")])
        .await?;
    let old = format!("1:{OLD}");
    let names = [("CIPHER_KEY", SIV), ("CIPHER_KEY_ID", "2"), ("CIPHER_OLD_KEYS", &*old)];
    let read = async |names: &[(&str, &str)]| {
        let store = EventStore::new(Encoded::new(memory.clone(), codec(names)?)?);
        Ok::<_, Error>(
            store.stream(EARTH).read(annals::ReadOptions::default()).into_vec().await?.len(),
        )
    };
    assert!(read(&names).await.is_err(), "the first one is in the clear");
    assert_eq!(read(&[&names[..], &[("CIPHER_CLEAR", "1")]].concat()).await?, 4);
    assert_eq!(read(&[&names[..], &[("CIPHER_CLEAR", "accepted")]].concat()).await?, 4);
    Ok(())
}

#[test]
fn names_of_stacks_say_what_is_configured() -> annals::Result<()> {
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[], "plain(memory)"),
        (&[("COMPRESSOR", "")], "plain(memory)"),
        (&[("COMPRESSOR", "zlib:1")], "zlib(memory)"),
        (
            &[("COMPRESSOR", "zstd"), ("CIPHER", "aes-gcm"), ("CIPHER_KEY", GCM_128)],
            "zstd+aes(memory)",
        ),
    ];
    for (names, expected) in cases {
        assert_eq!(Encoded::new(MemoryAdapter::new(), codec(names)?)?.name(), expected);
    }
    Ok(())
}

#[test]
fn what_makes_no_sense_is_named_and_shows_no_key() {
    let cases: [(&[(&str, &str)], &str); 12] = [
        (&[("COMPRESSOR", "lz4")], "COMPRESSOR"),
        (&[("COMPRESSOR", "zlib:12")], "zlib"),
        (&[("COMPRESSOR", "zstd:x")], "COMPRESSOR"),
        (&[("CIPHER_KEY", GCM_128)], "CIPHER_KEY"),
        (&[("CIPHER_KEY", "!AECAwQF")], "CIPHER_KEY"),
        (&[("CIPHER_KEY", SIV), ("CIPHER", "rot13")], "CIPHER"),
        (&[("CIPHER_KEY", SIV), ("CIPHER_KEY_ID", "-1")], "CIPHER_KEY_ID"),
        (&[("CIPHER_KEY", SIV), ("CIPHER_OLD_KEYS", OLD)], "CIPHER_OLD_KEYS"),
        (
            &[
                ("CIPHER_KEY", SIV),
                ("CIPHER_OLD_KEYS", "1:ICECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
            ],
            "key 1",
        ),
        (&[("CIPHER_KEY", SIV), ("CIPHER_CLEAR", "some")], "CIPHER_CLEAR"),
        (&[("CIPHER", "aes-256-gcm-siv")], "CIPHER_KEY"),
        (&[("MAX_PAYLOAD", "0")], "MAX_PAYLOAD"),
    ];
    for (names, expected) in cases {
        let error = codec(names).expect_err("it makes no sense");
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, Error::Invalid(_)) && shown.contains(expected), "{shown}");
        assert!(!shown.contains("AECAw") && !shown.contains("ICECA"), "{shown}");
    }
}
