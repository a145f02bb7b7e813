//! What the kit offers the authors of typed events and aggregates.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::trivially_copy_pass_by_ref,
    dead_code,
    reason = "tests, and events that only derive"
)]

mod breaking;
mod files;
mod laws;
mod safe;

/// Types before and after a change: the payloads of the first are released, and the second is compared with them.
macro_rules! change {
    ($name:ident: $result:pat, { $($before:tt)* } [ $($old:expr),* $(,)? ] => { $($after:tt)* } [ $($new:expr),* $(,)? ]) => {
        #[test]
        fn $name() {
            mod before {
                use annals_domain::Event;
                #[allow(unused_imports)]
                use serde::{Deserialize, Serialize};
                $($before)*
                #[allow(unused_imports)]
                use Happened::*;
                pub(super) fn released() -> annals_testkit::domain::Released {
                    annals_testkit::domain::Released::new()
                        .events::<Happened>(annals::CategoryName::from_static("items"), [$($old),*])
                }
            }
            mod after {
                use annals_domain::Event;
                #[allow(unused_imports)]
                use serde::{Deserialize, Serialize};
                $($after)*
                #[allow(unused_imports)]
                use Happened::*;
                pub(super) fn released() -> annals_testkit::domain::Released {
                    annals_testkit::domain::Released::new()
                        .events::<Happened>(annals::CategoryName::from_static("items"), [$($new),*])
                }
            }
            let file = $crate::domain::released(&before::released());
            let compared = after::released().compare(&file);
            assert!(matches!(compared.breaking.as_slice(), $result), "{:?}", compared.breaking);
        }
    };
}
pub(crate) use change;

/// The golden file of a release, which is complete.
fn released(release: &annals_testkit::domain::Released) -> annals_testkit::domain::GoldenFile {
    let first = release.compare(&annals_testkit::domain::GoldenFile::new());
    assert!(first.breaking.is_empty(), "{:?}", first.breaking);
    let file = first.completed.expect("samples");
    let again = release.compare(&file);
    assert!(again.breaking.is_empty() && again.completed.is_none(), "{again:?}");
    file
}
