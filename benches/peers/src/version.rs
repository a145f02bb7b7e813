//! Which version of a peer this is.

const LOCK: &str = include_str!("../Cargo.lock");

/// The version of a crate, as it was locked.
pub(crate) fn of(package: &str) -> String {
    let name = format!("name = \"{package}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != name);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = "));
    version.unwrap_or("unknown").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_locked_one() {
        assert_eq!(super::of("annals-peers"), env!("CARGO_PKG_VERSION"));
        assert_eq!(super::of("not-there"), "unknown");
    }
}
