//! Adapters that are known to be wrong, and odd ones that are right: the proof that the suite works.
//!
//! Each [`Specimen`] names the checks that must catch it. Run the suite over them to trust it, or one of your own
//! checks to see that it can fail.

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
            impl $crate::zoo::bent::Bend for $name {
                $($step)*
            }
        )*

        pub(super) const SPECIMENS: &[$crate::zoo::Specimen] = &[$(
            $crate::zoo::specimen::<$name>(
                stringify!($name),
                concat!($($about),+),
                &[$($check),*],
            ),
        )*];
    };
}

mod bent;
mod caches;
mod capabilities;
mod claims;
mod concurrency;
mod conditions;
mod contents;
mod faults;
mod follows;
mod numbers;
mod odd;
mod partitions;
mod queries;
mod races;
mod reads;
mod scans;
mod writes;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use annals::BoxError;
use async_trait::async_trait;

use crate::harness::{Gate, Harness, Hook, Opened, Store, Variant};
use crate::suite::Suite;
use bent::{Bend, Bent, Shared};

/// An adapter of the zoo.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Specimen {
    /// Its name.
    pub name: &'static str,
    /// What it does wrong, or oddly.
    pub about: &'static str,
    /// The checks that must catch it; none, when it is right.
    pub caught_by: &'static [&'static str],
    suite: fn(&'static str) -> Suite,
}

impl Specimen {
    /// Whether it keeps the contract.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.caught_by.is_empty()
    }

    /// A suite over it, with a fresh store for each check.
    #[must_use]
    pub fn suite(&self) -> Suite {
        (self.suite)(self.name)
    }
}

impl fmt::Debug for Specimen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Specimen").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All specimens: first the broken ones, then the odd ones, which are right.
pub fn specimens() -> impl Iterator<Item = &'static Specimen> {
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
    Specimen { name, about, caught_by, suite: |name| Suite::new(name, Cage::<B>::default()) }
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

#[async_trait]
impl<B: Bend> Harness for Cage<B> {
    async fn open(&self, namespace: &str) -> Opened {
        Ok(Self::handle(self.store(namespace), 100))
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::PageSize, Hook::StartAfter, Hook::Gate]
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

    async fn open_gated(&self, namespace: &str) -> Result<(Store, Arc<dyn Gate>), BoxError> {
        let shared = self.store(namespace);
        let gate: Arc<dyn Gate> = Arc::new(crate::gate::Latch::default());
        *shared.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&gate));
        Ok((Self::handle(shared, 100), gate))
    }
}
