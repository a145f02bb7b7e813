//! What the tests of the house look for is found where it is.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use annals_house::{Modules, circles, foreign_types, odd_prose};

/// Writes a crate to a folder of its own below the folder of build results.
fn made(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for (file, text) in files {
        let file = folder.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

fn names(circle: &[&Path]) -> Vec<String> {
    circle.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_circle_is_found_through_braces_macros_re_exports_and_parents() {
    let folder = made(
        "circle",
        &[
            ("lib.rs", "mod a; mod b; mod c; mod d; mod e; pub use c::C;"),
            ("a.rs", "use std::{fmt, crate_like}; use crate::{b::{B, More}, e::E}; pub struct A;"),
            ("b.rs", "pub struct B; fn f() { println!(\"{:?}\", crate::C); }"),
            ("c.rs", "mod inner; pub struct C; fn f(_: &super::a::A) {}"),
            ("c/inner.rs", "use super::C; fn f() {}"),
            (
                "d.rs",
                "// use crate::a::A;\nuse crate::a::A; const TEXT: &str = \"crate::d::D\"; fn f(_: A) {}",
            ),
            ("e.rs", "pub struct E; #[cfg(test)] mod tests { use crate::a::A; }"),
        ],
    );
    let modules = Modules::of(&folder.join("lib.rs"));
    let circles = circles(&modules);
    assert_eq!(circles.len(), 1, "{circles:?}");
    assert_eq!(names(&circles[0]), ["a.rs", "b.rs", "c.rs"]);
}

#[test]
fn two_circles_are_two() {
    let folder = made(
        "two",
        &[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::a::A; use crate::c::C;"),
            ("c.rs", "use super::d::D;"),
            ("d.rs", "fn f() { crate::c::c() }"),
        ],
    );
    let modules = Modules::of(&folder.join("lib.rs"));
    let circles: Vec<Vec<String>> = circles(&modules).iter().map(|circle| names(circle)).collect();
    assert_eq!(circles, [["a.rs", "b.rs"], ["c.rs", "d.rs"]]);
}

#[test]
fn odd_phrases_are_found_over_the_end_of_a_line_and_not_in_code() {
    let folder = made(
        "prose",
        &[
            (
                "page.md",
                "A caller is\ntold so. It stands for this.\n```\nit is told\n```\n**Whoever** comes.\n",
            ),
            (
                "code.rs",
                "//! It gives\n//! up. It gives more.\nlet x = \"is told\"; // is told\n// of the caller's\n",
            ),
        ],
    );
    let found = |file: &str, comments| -> Vec<(usize, &str)> {
        odd_prose(&folder.join(file), comments)
            .iter()
            .map(|finding| (finding.line, finding.phrase))
            .collect()
    };
    assert_eq!(found("page.md", false), [(1, "is told"), (6, "whoever")]);
    assert_eq!(found("code.rs", false), [(2, "gives")]);
    assert_eq!(found("code.rs", true), [(2, "gives"), (4, "of the caller's")]);
}

#[test]
fn foreign_types_are_found_where_others_see_them_only() {
    let source = "
        use bytes::Bytes; use time::Date as Day; use uuid::Uuid; use serde::Serialize;
        pub struct Seen { pub day: Day, own: Uuid }
        struct Own;
        impl Seen { pub fn bytes(&self) -> &Bytes { todo!() } fn own(&self) -> Uuid { todo!() } }
        impl From<hex::Error> for Own { fn from(_: hex::Error) -> Self { Own } }
        impl From<url::Error> for Seen { fn from(_: url::Error) -> Self { todo!() } }
        #[derive(Serialize)] pub enum Either { One(log::Level) }
        pub(crate) fn own(_: hex::Error) {}
    ";
    let folder = made("foreign", &[("lib.rs", source)]);
    let dependencies = ["bytes", "hex", "log", "serde", "time", "url", "uuid"].map(str::to_owned);
    let found = foreign_types(&Modules::of(&folder.join("lib.rs")), &dependencies);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["bytes", "log", "serde", "time", "url"]);
    assert!(found["time"].contains("Seen"));
}
