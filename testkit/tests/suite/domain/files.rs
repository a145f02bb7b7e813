//! Golden files on disk.

use annals_domain::Event;
use annals_testkit::domain::{GoldenFile, Released};

#[derive(Event)]
#[event(name = "happened")]
struct First {
    what: String,
}

#[derive(Event)]
#[event(name = "happened")]
struct Broken {
    what: u64,
}

#[derive(Event)]
#[event(name = "happened", version = 2, upcast(with_when))]
struct Second {
    what: String,
    when: u64,
}

fn with_when(payload: &mut serde_json::Value) {
    payload["when"] = 0.into();
}

fn of<E: Event>(sample: E) -> Released {
    Released::new().events(annals::CategoryName::from_static("items"), [sample])
}

#[test]
fn a_file_grows_on_request_only_and_never_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("golden/items.json");
    let first = of(First { what: "x".to_owned() });
    let lacks = first.checked(&path, false).expect_err("no file");
    assert!(lacks.contains("ANNALS_UPDATE_GOLDEN=1") && !path.exists(), "{lacks}");
    first.checked(&path, true).expect("written");
    first.checked(&path, false).expect("complete");
    let released = std::fs::read(&path).expect("a file");

    // What is broken is refused, asked for or not, and the file is as it was.
    for update in [false, true] {
        let error = of(Broken { what: 1 }).checked(&path, update).expect_err("broken");
        assert!(error.contains("happened version 1 in category items"), "{error}");
        assert_eq!(std::fs::read(&path).expect("a file"), released);
    }

    let second = of(Second { what: "x".to_owned(), when: 1 });
    second.checked(&path, false).expect_err("not released");
    second.checked(&path, true).expect("written");
    second.checked(&path, true).expect("complete");
    second.checked(&path, false).expect("complete");
    let file = GoldenFile::read(&path).expect("a file");
    let kept: Vec<_> = file.events.iter().map(|event| event.version).collect();
    assert_eq!(kept, [1, 2]);
    assert_eq!(file.events[0].payload, serde_json::json!({ "what": "x" }));
    assert_eq!(file.events[0].reads_as[&2], serde_json::json!({ "what": "x", "when": 0 }));
    // Back to the first release: the file says that the second one was made.
    first.checked(&path, true).expect_err("version 2 is released");
    assert_eq!(std::fs::read_dir(path.parent().expect("a folder")).expect("files").count(), 1);
}

#[test]
fn what_is_no_golden_file_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("items.json");
    for text in ["", "<<<<<<< ours\n[]", r#"[{"name": "happened"}]"#] {
        std::fs::write(&path, text).expect("written");
        of(First { what: "x".to_owned() }).checked(&path, true).expect_err("no golden file");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), text);
    }
}
