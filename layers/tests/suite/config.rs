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
use annals_layers::{Backoff, Chained, Codec, Encoded, StoredKeys, Subject, SubjectKeys};
use annals_memory::{MemoryAdapter, MemoryState};

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

fn lookup(names: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    let names: HashMap<String, String> =
        names.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    move |name| names.get(name).cloned()
}

const CHAIN_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[tokio::test]
async fn a_chain_has_its_key_and_its_beginning_by_configuration() -> annals::Result<()> {
    let memory = MemoryAdapter::new();
    let keyed: &[(&str, &str)] = &[("CHAIN_KEY", CHAIN_KEY), ("CHAIN_AFTER", "2")];
    // One event each: unchained, chained without a key, under the key.
    for names in [None, Some(&[("CHAIN_AFTER", "1")][..]), Some(keyed)] {
        let write = Append::new(EARTH, [NewEvent::json("said", &1)?], WriteCondition::Always);
        match names {
            None => memory.append(vec![write]).await?,
            Some(names) => {
                Chained::from_lookup(memory.clone(), lookup(names))?.append(vec![write]).await?
            }
        };
    }
    let findings = async |names: &[(&str, &str)]| {
        let chain = Chained::from_lookup(memory.clone(), lookup(names))?;
        Ok::<_, Error>(chain.verify(&EARTH, None).await?.findings.len())
    };
    assert_eq!(findings(keyed).await?, 0);
    let other = CHAIN_KEY.replace("1f", "ff");
    assert_ne!(findings(&[("CHAIN_KEY", &other), ("CHAIN_AFTER", "2")]).await?, 0);
    assert_ne!(findings(&[("CHAIN_AFTER", "2")]).await?, 0);
    assert_ne!(findings(&[("CHAIN_KEY", CHAIN_KEY)]).await?, 0);
    for (names, expected) in [
        (&[("CHAIN_KEY", "00ff")][..], "CHAIN_KEY"),
        (&[("CHAIN_KEY", SIV)], "CHAIN_KEY"),
        (&[("CHAIN_AFTER", "x")], "CHAIN_AFTER"),
    ] {
        let error = Chained::from_lookup(memory.clone(), lookup(names)).expect_err("it is wrong");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expected) && !shown.contains("00ff") && !shown.contains(SIV));
    }
    Ok(())
}

#[tokio::test]
async fn keys_of_subjects_have_their_master_key_by_configuration() -> annals::Result<()> {
    let state = std::sync::Arc::new(MemoryState::new());
    let open = |names: &[(&str, &str)]| {
        StoredKeys::from_lookup(std::sync::Arc::clone(&state) as _, lookup(names))
    };
    let ada = Subject::new("ada")?;
    let (id, _) = open(&[("SUBJECT_KEY", OLD)])?.current(&ada).await?;
    let old = format!("1:{OLD}");
    let newer = [("SUBJECT_KEY", SIV), ("SUBJECT_KEY_ID", "2"), ("SUBJECT_OLD_KEYS", &*old)];
    assert_eq!(open(&newer)?.current(&ada).await?.0, id);
    assert!(open(&newer[..2])?.current(&ada).await.is_err(), "its key is not given");
    assert_eq!(open(&newer)?.rewrap().await?, 1);
    assert_eq!(open(&newer[..2])?.current(&ada).await?.0, id);
    for (names, expected) in [
        (&[][..], "SUBJECT_KEY"),
        (&[("SUBJECT_KEY_ID", "2")], "SUBJECT_KEY is not"),
        (&[("SUBJECT_KEY", GCM_128)], "SUBJECT_KEY"),
    ] {
        let error = open(names).expect_err("it is wrong");
        assert!(error.to_string().contains(expected), "{error}");
    }
    Ok(())
}

#[test]
fn how_often_to_call_is_configured() -> annals::Result<()> {
    use std::time::Duration;
    let usual = Backoff::from_lookup(lookup(&[]))?;
    assert_eq!((usual.attempts.get(), usual.first.as_millis(), usual.most.as_secs()), (5, 50, 5));
    let names =
        [("RETRY_ATTEMPTS", "3"), ("RETRY_FIRST_WAIT", "7"), ("RETRY_LONGEST_WAIT", " 90 ")];
    let chosen = Backoff::from_lookup(lookup(&names))?;
    assert_eq!(chosen.attempts.get(), 3);
    assert_eq!((chosen.first, chosen.most), (Duration::from_millis(7), Duration::from_millis(90)));
    for name in ["RETRY_ATTEMPTS", "RETRY_FIRST_WAIT", "RETRY_LONGEST_WAIT"] {
        let error = Backoff::from_lookup(lookup(&[(name, "-1")])).expect_err("it is no number");
        assert!(matches!(error, Error::Invalid(_)) && error.to_string().contains(name));
    }
    assert!(Backoff::from_lookup(lookup(&[("RETRY_ATTEMPTS", "0")])).is_err());
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
