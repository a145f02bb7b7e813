//! The packages of the workspace, as cargo knows them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A package of the workspace.
#[derive(Debug)]
pub struct Package {
    /// Its name, such as `annals-sqlite`.
    pub name: String,
    /// The folder of its manifest.
    pub folder: PathBuf,
    /// The root file of its library.
    pub library: Option<PathBuf>,
    /// Whether a registry may have it.
    pub published: bool,
    /// The crates that its library may name, as they are written in Rust, but those of the workspace.
    pub dependencies: Vec<String>,
    /// Its features.
    pub features: Vec<String>,
}

/// The folder of the workspace.
///
/// # Panics
/// If this crate does not lie in the workspace.
#[must_use]
pub fn root() -> PathBuf {
    // As cargo says when it runs this: a folder of build results may serve several copies of the workspace.
    let house =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&house).parent().expect("this crate lies in the workspace").to_owned()
}

/// All packages of the workspace, by name.
///
/// # Panics
/// If cargo cannot read the workspace.
#[must_use]
pub fn packages() -> Vec<Package> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let mut packages: Vec<Package> = list(&metadata, "packages").iter().map(package).collect();
    packages.sort_by(|one, other| one.name.cmp(&other.name));
    packages
}

fn package(value: &Value) -> Package {
    let manifest = PathBuf::from(text(value, "manifest_path"));
    let is_library = |target: &&Value| {
        list(target, "kind").iter().any(|kind| matches!(kind.as_str(), Some("lib" | "proc-macro")))
    };
    Package {
        name: text(value, "name"),
        folder: manifest.parent().expect("a manifest lies in a folder").to_owned(),
        library: list(value, "targets")
            .iter()
            .find(is_library)
            .map(|target| text(target, "src_path").into()),
        // An empty list is `publish = false`.
        published: value["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
        dependencies: list(value, "dependencies")
            .iter()
            .filter(|dependency| dependency["kind"].is_null() && dependency["path"].is_null())
            .map(|dependency| text(dependency, "name").replace('-', "_"))
            .collect(),
        features: value["features"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect(),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("cargo metadata has no {key}")).to_owned()
}
