//! What a notary promises: rules L17 and L18.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test that panics fails, as it should"
)]

use std::sync::Arc;

use annals::{
    Append, Error, EventRecord, NewEvent, Order, Payload, Query, ReadOptions, SequenceNumber,
    StorageAdapter, StoredEvent, StreamId, Tags, WriteCondition,
};
use annals_layers::{
    Checkpoint, ConsistencyProof, Divergence, Hash, InclusionProof, Key, KeyId, KeyRing, Notary,
    Personal, Shredding, Signer, StoredKeys, Subject, SubjectKeys, Verifier, entry,
};
use annals_memory::{MemoryAdapter, MemoryState};
use annals_state::{CollectionName, Commit, Expected, Scan, StateStore, Write};
use futures_util::{StreamExt, TryStreamExt};
use sha2::Sha256;
use sha2::digest::Output;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const ORIGIN: &str = "example.com/log";

fn stream(nth: u64) -> StreamId {
    StreamId::new("worlds", format!("w-{}", nth % 3)).unwrap()
}

async fn append(log: &MemoryAdapter, events: std::ops::Range<u64>) {
    for nth in events {
        let event = NewEvent::json("said", &nth).unwrap();
        let event = event.with_tags(Tags::parse(["a", "b"]).unwrap());
        let write = Append::new(stream(nth), [event], WriteCondition::Always);
        log.append(vec![write]).await.unwrap();
    }
}

async fn all(log: &dyn StorageAdapter) -> Vec<StoredEvent> {
    let read = log.read(Query::all(), ReadOptions::default());
    let pages: Vec<_> = read.try_collect().await.unwrap();
    pages.into_iter().flat_map(|page| page.events).collect()
}

async fn notary<A: StorageAdapter>(log: A) -> Notary<A> {
    let mut notary = Notary::open(log, Arc::new(MemoryState::new()), ORIGIN).await.unwrap();
    notary.catch_up().await.unwrap();
    notary
}

fn signer() -> Signer {
    Signer::from_bytes(ORIGIN, &[3; 32]).unwrap()
}

/// The same hash with one bit changed.
fn flipped(hash: Hash, bit: usize) -> Hash {
    let mut bytes = hash.0;
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Hash(bytes)
}

/// Each proof with one bit of one hash changed, one hash less, and one more.
fn spoilt(hashes: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..hashes.len() {
        let mut changed = hashes.to_vec();
        changed[at] = flipped(changed[at], at * 37 + hashes.len());
        all.push(changed);
    }
    all.push([hashes, &[Hash::GENESIS]].concat());
    if let Some((_, less)) = hashes.split_last() {
        all.push(less.to_vec());
    }
    all
}

#[tokio::test]
async fn l17_all_proofs_of_sizes_to_70_verify_and_none_that_is_changed() -> Outcome {
    let log = MemoryAdapter::new();
    append(&log, 0..70).await;
    let events = all(&log).await;
    let notary = notary(log).await;
    let mut trees = Vec::new();
    for size in 0..=70 {
        trees.push(notary.checkpoint_at(size).await?);
    }
    for size in 1..=70_u64 {
        let tree = &trees[size as usize];
        for index in 0..size {
            let event = &events[index as usize];
            let proof = notary.inclusion(event.sequence_number, size).await?;
            assert!(proof.proves(event, tree), "{index} of {size}");
            assert!(!proof.proves(&events[(index as usize + 1) % 70], tree));
            let beside = InclusionProof::new(index + 1, size, proof.hashes.clone());
            assert!(!beside.proves(event, tree), "{index} of {size}");
            let other_root = Checkpoint::new(ORIGIN, size, flipped(tree.root, 5));
            assert!(!proof.proves(event, &other_root));
            for hashes in spoilt(&proof.hashes) {
                assert!(!InclusionProof::new(index, size, hashes).proves(event, tree));
            }
        }
        for old in 0..=size {
            let before = &trees[old as usize];
            let proof = notary.consistency(old, size).await?;
            assert!(proof.proves(before, tree), "{old} to {size}");
            let changed = Checkpoint::new(ORIGIN, old, flipped(before.root, 9));
            assert!(!proof.proves(&changed, tree), "{old} to {size}");
            let changed = Checkpoint::new(ORIGIN, size, flipped(tree.root, 9));
            assert!(old == 0 || !proof.proves(before, &changed), "{old} to {size}");
            for hashes in spoilt(&proof.hashes) {
                let spoilt = ConsistencyProof::new(old, size, hashes);
                assert!(!spoilt.proves(before, tree), "{old} to {size}");
            }
        }
        assert!(notary.inclusion(SequenceNumber::new(size + 1), size).await.is_err());
    }
    assert!(notary.inclusion(SequenceNumber::START, 70).await.is_err());
    assert!(notary.checkpoint_at(71).await.is_err());
    assert!(notary.consistency(5, 4).await.is_err());
    Ok(())
}

/// `ct-merkle`, an implementation of RFC 6962 by others, has the same trees, and takes our proofs.
#[tokio::test]
async fn l17_an_independent_implementation_takes_our_proofs() -> Outcome {
    type Root = ct_merkle::RootHash<Sha256>;
    let digest = |hash: Hash| -> Output<Sha256> { hash.0.into() };
    let digests = |hashes: &[Hash]| hashes.iter().map(|hash| digest(*hash)).collect::<Vec<_>>();
    let log = MemoryAdapter::new();
    append(&log, 0..600).await;
    let events = all(&log).await;
    let notary = notary(log).await;
    let mut theirs = ct_merkle::mem_backed_tree::MemoryBackedTree::<Sha256, [u8; 32]>::new();
    let mut roots = Vec::new();
    for event in &events {
        theirs.push(entry(event).0);
        roots.push(theirs.root());
    }
    for size in [1, 2, 3, 7, 64, 255, 256, 257, 511, 512, 513, 600_u64] {
        let ours = notary.checkpoint_at(size).await?;
        let root = Root::new(digest(ours.root), size);
        assert_eq!(root.as_bytes(), roots[size as usize - 1].as_bytes(), "size {size}");
        for index in [0, 1, size / 2, size - 1].into_iter().filter(|index| *index < size) {
            let event = &events[index as usize];
            let proof = notary.inclusion(event.sequence_number, size).await?;
            let digests = digests(&proof.hashes);
            let proof = ct_merkle::InclusionProof::<Sha256>::from_digests(digests.iter());
            root.verify_inclusion(&entry(event).0, index, &proof).unwrap();
            assert!(root.verify_inclusion(&[0_u8; 32], index, &proof).is_err());
        }
        for old in [1, size / 2, size - 1].into_iter().filter(|old| (1..size).contains(old)) {
            let before = Root::new(digest(notary.checkpoint_at(old).await?.root), old);
            let proof = notary.consistency(old, size).await?;
            let digests = digests(&proof.hashes);
            let proof = ct_merkle::ConsistencyProof::<Sha256>::from_digests(digests.iter());
            root.verify_consistency(&before, &proof).unwrap();
        }
    }
    Ok(())
}

/// A log as a database would show it after somebody changed its rows.
#[derive(Debug, Clone)]
struct Tampered(Vec<StoredEvent>);

#[annals::adapter::async_trait]
impl StorageAdapter for Tampered {
    fn name(&self) -> &'static str {
        "tampered"
    }

    fn capabilities(&self) -> annals::Capabilities {
        MemoryAdapter::new().capabilities()
    }

    async fn append(&self, _: Vec<Append>) -> annals::Result<Vec<StoredEvent>> {
        Err(Error::unavailable("it is only read"))
    }

    fn read(&self, _: Query, options: ReadOptions) -> annals::EventPages {
        let inside = |row: &&StoredEvent| {
            row.sequence_number > options.after
                && options.until.is_none_or(|until| row.sequence_number <= until)
        };
        let rows: Vec<_> = self.0.iter().filter(inside).cloned().collect();
        let page =
            |rows: &[StoredEvent]| Ok(annals::Page::new(rows.to_vec(), rows[0].sequence_number));
        futures_util::stream::iter(rows.chunks(7).map(page).collect::<Vec<_>>()).boxed()
    }

    async fn close(&self) {}
}

/// What somebody does to a row.
type Change = Box<dyn Fn(&mut EventRecord)>;

fn changed(row: &StoredEvent, change: impl FnOnce(&mut EventRecord)) -> StoredEvent {
    let mut record = row.clone().into_record();
    change(&mut record);
    record.into()
}

#[tokio::test]
async fn l17_every_kind_of_tampering_is_found_and_named() -> Outcome {
    let log = MemoryAdapter::new();
    append(&log, 0..300).await;
    let rows = all(&log).await;
    let state: Arc<dyn StateStore> = Arc::new(MemoryState::new());
    let mut notary = Notary::open(log, Arc::clone(&state), ORIGIN).await?;
    notary.catch_up().await?;
    let kept = notary.checkpoint().await?;
    assert_eq!(notary.audit(&kept).await?, None);
    let audit = async |rows: Vec<StoredEvent>| {
        let notary = Notary::open(Tampered(rows), Arc::clone(&state), ORIGIN).await.unwrap();
        notary.audit(&kept).await.unwrap()
    };
    assert_eq!(audit(rows.clone()).await, None);
    // Each field of event 118, and each says which it is.
    let number = rows[117].sequence_number;
    let second = time::Duration::seconds(1);
    let fields: Vec<Change> = vec![
        Box::new(|it| it.event.id = annals::EventId::generate()),
        Box::new(|it| it.event.name = "heard".try_into().unwrap()),
        Box::new(|it| it.event.payload = Payload::json(&1).unwrap()),
        Box::new(|it| it.event.payload = Payload::bytes(it.event.payload.as_bytes().clone())),
        Box::new(|it| it.event.metadata = Some(annals::Metadata::json_bytes("{}").unwrap())),
        Box::new(|it| it.event.tags = Tags::parse(["a"]).unwrap()),
        Box::new(move |it| it.event.occurred_at += second),
        Box::new(move |it| it.recorded_at += second),
        Box::new(|it| it.stream = StreamId::new("worlds", "w-7").unwrap()),
        Box::new(|it| it.position = it.position.next().unwrap()),
    ];
    for (nth, change) in fields.iter().enumerate() {
        let mut rows = rows.clone();
        rows[117] = changed(&rows[117], change);
        assert_eq!(audit(rows).await, Some(Divergence::Changed(number)), "field {nth}");
    }
    let mut removed = rows.clone();
    removed.remove(117);
    assert_eq!(audit(removed.clone()).await, Some(Divergence::Missing(number)));
    // Numbered anew, from there on every event is another one.
    for row in &mut removed[117..] {
        let before = row.sequence_number.prev().unwrap();
        *row = changed(row, |it| it.sequence_number = before);
    }
    assert_eq!(audit(removed).await, Some(Divergence::Changed(number)));
    let mut swapped = rows.clone();
    swapped[117] = changed(&rows[118], |it| it.sequence_number = number);
    let next = rows[118].sequence_number;
    swapped[118] = changed(&rows[117], |it| it.sequence_number = next);
    assert_eq!(audit(swapped).await, Some(Divergence::Changed(number)));
    let cut = rows[..250].to_vec();
    let first = rows[250].sequence_number;
    assert_eq!(audit(cut.clone()).await, Some(Divergence::CutTail(first)));
    assert_eq!(audit(Vec::new()).await, Some(Divergence::CutTail(rows[0].sequence_number)));
    // The notary itself stops, too, where it would go on.
    let mut other = Notary::open(Tampered(cut), Arc::clone(&state), ORIGIN).await?;
    assert!(matches!(other.catch_up().await, Err(Error::Corrupt(_))));

    // Somebody who writes another history into the log, and its tree with it, cannot write the checkpoint that others keep.
    let fork = MemoryAdapter::new();
    append(&fork, 0..300).await;
    let forked = self::notary(fork).await;
    assert_eq!(forked.audit(&kept).await?, Some(Divergence::OtherHistory));
    let proof = forked.consistency(200, 300).await?;
    let old = notary.checkpoint_at(200).await?;
    assert!(!proof.proves(&old, &forked.checkpoint().await?), "a fork is no continuation");
    // And the other way round: the log is right, and its tree is not.
    let scan = Scan::along_ids(CollectionName::from_static("annals.notary"));
    let pages: Vec<_> = state.scan(scan).try_collect().await?;
    let is_tile = |id: &str| id.ends_with("tile/0/001");
    let mut documents = pages.into_iter().flatten().map(|it| it.document);
    let tile = documents.find(|it| is_tile(it.key.id.as_str())).unwrap();
    let mut bytes = tile.body.as_bytes().to_vec();
    bytes[32 * 4] ^= 1;
    let write = Write::put(tile.key, Payload::bytes(bytes), Expected::Any);
    state.commit(Commit::new([write])).await?;
    let number = SequenceNumber::new(256 + 5);
    assert_eq!(audit(rows).await, Some(Divergence::OtherTree(number)));
    Ok(())
}

#[tokio::test]
async fn l17_a_notary_goes_on_after_a_restart_and_two_agree() -> Outcome {
    let (log, state) = (MemoryAdapter::new(), Arc::new(MemoryState::new()));
    let mut roots = Vec::new();
    let mut total = 0;
    for more in [1, 0, 254, 1, 1, 300, 2_500] {
        append(&log, total..total + more).await;
        total += more;
        let mut fresh = Notary::open(log.clone(), Arc::clone(&state) as _, ORIGIN).await?;
        assert_eq!(fresh.catch_up().await?, more);
        assert_eq!((fresh.catch_up().await?, fresh.size().await?), (0, total));
        let other = notary(log.clone()).await;
        assert_eq!(fresh.checkpoint().await?, other.checkpoint().await?, "{total}");
        roots.push(fresh.checkpoint().await?);
    }
    let last = Notary::open(log.clone(), Arc::clone(&state) as _, ORIGIN).await?;
    for old in &roots {
        let proof = last.consistency(old.size, total).await?;
        assert!(proof.proves(old, &last.checkpoint().await?));
        assert_eq!(last.audit(old).await?, None, "older checkpoints hold for ever");
    }
    // Two that share a tree: one call is rejected, and both go on.
    let mut one = Notary::open(log.clone(), Arc::clone(&state) as _, ORIGIN).await?;
    let mut two = Notary::open(log.clone(), Arc::clone(&state) as _, ORIGIN).await?;
    append(&log, 0..5).await;
    assert_eq!(one.catch_up().await?, 5);
    assert!(matches!(two.catch_up().await, Err(Error::Unavailable(_))));
    assert_eq!(two.catch_up().await?, 0);
    assert_eq!(two.checkpoint().await?, one.checkpoint().await?);
    assert_eq!(notary(log).await.checkpoint().await?, one.checkpoint().await?);
    Ok(())
}

#[tokio::test]
async fn l17_a_log_that_begins_later_and_an_empty_one_have_trees() -> Outcome {
    let empty = notary(MemoryAdapter::new()).await;
    assert_eq!(empty.audit(&empty.checkpoint().await?).await?, None);
    let log = MemoryAdapter::starting_after(SequenceNumber::new(u64::MAX / 4));
    append(&log, 0..9).await;
    let events = all(&log).await;
    let notary = notary(log).await;
    let kept = notary.checkpoint().await?;
    for event in &events {
        let proof = notary.inclusion(event.sequence_number, 9).await?;
        assert!(proof.proves(event, &kept));
    }
    assert_eq!(notary.audit(&kept).await?, None);
    Ok(())
}

#[tokio::test]
async fn l17_forgetting_a_subject_changes_no_tree() -> Outcome {
    let (log, state) = (MemoryAdapter::new(), Arc::new(MemoryState::new()));
    let master = KeyRing::new(KeyId(1), &Key::generate()?);
    let keys = Arc::new(StoredKeys::new(Arc::clone(&state) as _, master));
    let layer = Shredding::new(log.clone(), Arc::clone(&keys) as _)?;
    let ada = Subject::new("ada")?;
    let event = NewEvent::json("enrolled", &Personal::new(ada.clone(), 1))?;
    layer.append(vec![Append::new(stream(0), [event], WriteCondition::Always)]).await?;
    let notary = notary(log).await;
    let kept = notary.checkpoint().await?;
    keys.forget(&ada).await?;
    assert_eq!(notary.audit(&kept).await?, None);
    Ok(())
}

/// Order only within streams.
#[derive(Debug)]
struct Weak(MemoryAdapter);

#[annals::adapter::async_trait]
impl StorageAdapter for Weak {
    fn name(&self) -> &'static str {
        "weak"
    }

    fn capabilities(&self) -> annals::Capabilities {
        self.0.capabilities().with_order(Order::Stream).with_contiguous_sequence(false)
    }

    async fn append(&self, writes: Vec<Append>) -> annals::Result<Vec<StoredEvent>> {
        self.0.append(writes).await
    }

    fn read(&self, query: Query, options: ReadOptions) -> annals::EventPages {
        self.0.read(query, options)
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn l17_a_log_whose_numbers_have_holes_is_unsupported() {
    let state = Arc::new(MemoryState::new());
    let opened = Notary::open(Weak(MemoryAdapter::new()), Arc::clone(&state) as _, ORIGIN).await;
    assert!(matches!(opened, Err(Error::Unsupported { .. })));
    for wrong in ["", "two words", "a+b", &"x".repeat(129)] {
        let opened = Notary::open(MemoryAdapter::new(), Arc::clone(&state) as _, wrong).await;
        assert!(matches!(opened, Err(Error::Invalid(_))), "{wrong}");
    }
}

/// A checkpoint of version 1 and what checks it, as this crate first signed it.
const FIXTURE: &str = include_str!("../fixtures/checkpoint.txt");

#[test]
fn l18_checkpoints_are_read_for_ever_and_each_changed_byte_fails() -> Outcome {
    let root = "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77".parse()?;
    let checkpoint = Checkpoint::new(ORIGIN, 3, root);
    let note = checkpoint.sign(&signer())?;
    assert_eq!(FIXTURE, format!("{}\n{note}", signer().verifier()));
    let (key, kept) = FIXTURE.split_once('\n').unwrap();
    let verifier: Verifier = key.parse()?;
    assert_eq!(Checkpoint::open(kept, &verifier)?, checkpoint);
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(Checkpoint::open(&changed, &verifier).is_err(), "bit {bit} of byte {at}");
        }
        if note.is_char_boundary(at) {
            assert!(Checkpoint::open(&note[..at], &verifier).is_err(), "cut at {at}");
        }
    }
    for at in 0..key.len() {
        let mut bytes = key.to_owned().into_bytes();
        bytes[at] ^= 1;
        let changed = String::from_utf8(bytes)?.parse::<Verifier>();
        assert!(changed.is_err(), "byte {at} of the key");
    }
    Ok(())
}

#[test]
fn l18_foreign_signatures_are_ignored_and_other_sizes_refused() -> Outcome {
    let checkpoint = Checkpoint::new(ORIGIN, 3, Hash([7; 32]));
    let note = checkpoint.sign(&signer())?;
    let verifier = signer().verifier();
    // A witness signs the same text; and one of the same name with another key.
    let witness = Signer::from_bytes("witness.example", &[4; 32])?;
    let namesake = Signer::from_bytes(ORIGIN, &[5; 32])?;
    let line = |note: &str| note.rsplit_once("\n\n").unwrap().1.to_owned();
    let [other, same] = [&witness, &namesake].map(|it| line(&checkpoint.sign(it).unwrap()));
    let all = format!("{note}{other}{same}");
    for verifier in [&verifier, &witness.verifier(), &namesake.verifier()] {
        assert_eq!(Checkpoint::open(&all, verifier)?, checkpoint);
    }
    assert!(Checkpoint::open(&note, &witness.verifier()).is_err());
    let only_others = format!("{checkpoint}\n{other}{same}");
    assert!(Checkpoint::open(&only_others, &verifier).is_err());
    assert!(Checkpoint::open(&format!("{note}no signature\n"), &verifier).is_err());
    assert!(Checkpoint::open(&format!("{note}{}", other.repeat(200)), &verifier).is_err());
    // Signed by us, and no checkpoint all the same.
    let root = checkpoint.to_string().lines().nth(2).unwrap().to_owned();
    let sized = |size: &str| format!("{ORIGIN}\n{size}\n{root}\n");
    for size in ["03", "", "+3", "-3", " 3", "3 ", "0x3", "18446744073709551616", "00"] {
        let note = signer().sign(&sized(size))?;
        assert!(Checkpoint::open(&note, &verifier).is_err(), "{size:?}");
    }
    assert_eq!(Checkpoint::open(&signer().sign(&sized("0"))?, &verifier)?.size, 0);
    for text in [
        format!("{ORIGIN}\n3\n"),
        format!("\n3\n{root}\n"),
        format!("{ORIGIN}\n3\n{}\n", &root[..40]),
        format!("{ORIGIN}\n3\n{root}\n\nmore\n"),
    ] {
        let note = signer().sign(&text)?;
        assert!(Checkpoint::open(&note, &verifier).is_err(), "{text:?}");
    }
    let extended = signer().sign(&format!("{}an extension\n", sized("3")))?;
    assert_eq!(Checkpoint::open(&extended, &verifier)?, checkpoint);
    assert!(signer().sign("no end").is_err() && signer().sign("a\tb\n").is_err());
    for name in ["", "two words", "a+b"] {
        assert!(Signer::from_bytes(name, &[1; 32]).is_err(), "{name:?}");
    }
    Ok(())
}
