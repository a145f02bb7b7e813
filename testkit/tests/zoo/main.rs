//! The zoo of storage: adapters that are known to be wrong, and odd ones that are right; see [`Zoo`].

#![allow(clippy::indexing_slicing, reason = "a specimen that panics is caught too")]
#![expect(clippy::needless_for_each, reason = "a specimen says in one line what it gets wrong")]

/// A row of the zoo: an adapter whose steps are right but for those given.
macro_rules! bent_specimens {
    ($(
        $(#[doc = $about:literal])+
        $name:ident $({ $($field:ident: $type:ty),* })? caught by [$($check:literal),*] { $($step:tt)* }
    )*) => {
        $(
            $(#[doc = $about])+
            #[derive(Debug, Default)]
            struct $name { $($($field: $type),*)? }

            #[async_trait::async_trait]
            impl $crate::bent::Bend for $name {
                $($step)*
            }
        )*

        pub(crate) const SPECIMENS: &[$crate::Specimen] = &[$(
            $crate::specimen::<$name>(
                stringify!($name),
                concat!($($about),+),
                &[$($check),*],
            ),
        )*];
    };
}

mod bent;
mod bursts;
mod caches;
mod capabilities;
mod changes;
mod claims;
mod concurrency;
mod conditions;
mod contents;
mod faults;
mod follows;
mod histories;
mod log;
mod numbers;
mod odd;
mod page;
mod partitions;
mod promises;
mod queries;
mod races;
mod reads;
mod report;
mod scans;
mod sizes;
mod writes;

use std::any::Any;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use annals::{Append, BoxError, NewEvent, StreamId, WriteCondition};
use async_trait::async_trait;

use annals_testkit::engine::{self, Zoo};
use annals_testkit::{Gate, Harness, Hook, Opened, Storage, Store, Suite, Variant};
use bent::{Bend, Bent, Shared};

type Specimen = engine::Specimen<Storage>;

fn main() -> ExitCode {
    let zoo = Zoo::new(specimens().copied());
    let tests = promises::TESTS.iter().chain(report::TESTS);
    tests.fold(zoo, |zoo, (name, test)| zoo.with_test(name, *test)).main()
}

/// All specimens: first the broken ones, then the odd ones, which are right.
fn specimens() -> impl Iterator<Item = &'static Specimen> {
    [
        numbers::SPECIMENS,
        writes::SPECIMENS,
        conditions::SPECIMENS,
        queries::SPECIMENS,
        capabilities::SPECIMENS,
        reads::SPECIMENS,
        scans::SPECIMENS,
        contents::SPECIMENS,
        races::SPECIMENS,
        concurrency::SPECIMENS,
        faults::SPECIMENS,
        partitions::SPECIMENS,
        caches::SPECIMENS,
        claims::SPECIMENS,
        follows::SPECIMENS,
        histories::SPECIMENS,
        sizes::SPECIMENS,
        bursts::SPECIMENS,
        odd::SPECIMENS,
    ]
    .into_iter()
    .flatten()
}

const fn specimen<B: Bend>(
    name: &'static str,
    about: &'static str,
    caught_by: &'static [&'static str],
) -> Specimen {
    Specimen::new(name, about, caught_by, |name| Suite::new(name, Cage::<B>::default()))
}

/// The harness of a specimen: a store for each namespace, in memory.
struct Cage<B> {
    stores: Mutex<HashMap<String, Arc<Shared>>>,
    bend: std::marker::PhantomData<fn() -> B>,
}

impl<B> Default for Cage<B> {
    fn default() -> Self {
        Self { stores: Mutex::default(), bend: std::marker::PhantomData }
    }
}

impl<B: Bend> Cage<B> {
    fn store(&self, namespace: &str) -> Arc<Shared> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(stores.entry(namespace.to_owned()).or_default())
    }

    fn handle(shared: Arc<Shared>, page_size: usize) -> Store {
        let page_size = NonZeroUsize::new(page_size).unwrap_or(NonZeroUsize::MIN);
        Arc::new(Bent { shared, bend: Arc::new(B::default()), page_size, closed: Arc::default() })
    }
}

/// Lets the append at the gate go on when it is dropped.
struct Held(Arc<dyn Gate>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[async_trait]
impl<B: Bend> Harness for Cage<B> {
    async fn open(&self, namespace: &str) -> Opened {
        Ok(Self::handle(self.store(namespace), 100))
    }

    fn hooks(&self) -> &[Hook] {
        let all = &[Hook::PageSize, Hook::StartAfter, Hook::Gate, Hook::TakeBack, Hook::HoldScope];
        // A lock for all of a weaker order is right, if nobody says that there are several.
        if B::default().has_scopes() { all } else { &all[..4] }
    }

    /// An append of another program is held before its commit.
    async fn hold_scope(
        &self,
        namespace: &str,
        stream: &StreamId,
    ) -> Result<Box<dyn Any + Send>, BoxError> {
        let (store, gate) = self.open_gated(namespace).await?;
        gate.arm();
        let event = NewEvent::json("held", &())?;
        let append = Append::new(stream.clone(), [event], WriteCondition::Always);
        tokio::spawn(async move { store.append(vec![append]).await });
        gate.held().await;
        Ok(Box::new(Held(gate)))
    }

    async fn open_as(&self, namespace: &str, variant: Variant) -> Opened {
        match variant {
            Variant::PageSize(events) => Ok(Self::handle(self.store(namespace), events.get())),
            Variant::StartAfter(last) => {
                let shared = Arc::new(Shared::default());
                shared.log().last = last.value();
                Ok(Self::handle(shared, 100))
            }
            other => Err(format!("no {other:?} in the zoo").into()),
        }
    }

    async fn remember(&self, namespace: &str) -> Result<(), BoxError> {
        let shared = self.store(namespace);
        let now = shared.log().clone();
        *shared.kept.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }

    async fn take_back(&self, namespace: &str) -> Result<(), BoxError> {
        let shared = self.store(namespace);
        let kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *shared.log() = kept;
        shared.bell.ring_all(annals::adapter::Wake::Changed);
        Ok(())
    }

    async fn open_gated(&self, namespace: &str) -> Result<(Store, Arc<dyn Gate>), BoxError> {
        let shared = self.store(namespace);
        let gate: Arc<dyn Gate> = Arc::new(annals_testkit::Latch::default());
        *shared.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&gate));
        Ok((Self::handle(shared, 100), gate))
    }
}
